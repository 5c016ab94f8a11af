"""The local page of `nstpipe ui`: what the commands do, in a browser. Its own process loads no torch.

`server` starts it, `guard` lets in who may come in, `app` joins the pages, and each page has a module of its own.
docs/how-to/window.md is for its users.
"""
