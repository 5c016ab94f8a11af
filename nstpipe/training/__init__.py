"""Trains the networks that paint in the style of any painting, from a folder of photographs and a folder of paintings."""
