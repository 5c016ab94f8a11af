// A slider between a picture before and after: a range input lies over both, so the keyboard and screen readers know it.

export function comparison(box) {
  const slider = box.querySelector("input[type=range]");
  const place = () => box.style.setProperty("--split", `${slider.value}%`);
  for (const image of box.querySelectorAll("img")) {
    image.addEventListener("load", () => box.style.setProperty("--aspect", image.naturalWidth / image.naturalHeight));
  }
  slider.addEventListener("input", place);
  place();
  return { set(value) { slider.value = value; place(); }, get value() { return Number(slider.value); } };
}
