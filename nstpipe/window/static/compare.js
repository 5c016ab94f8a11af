// A slider between a picture before and after: a range input lies over both, so the keyboard and screen readers know it.

export function comparison(box) {
  const slider = box.querySelector("input[type=range]");
  const place = () => box.style.setProperty("--split", `${slider.value}%`);
  slider.addEventListener("input", place);
  place();
  return { set(value) { slider.value = value; place(); }, get value() { return Number(slider.value); } };
}

for (const box of document.querySelectorAll(".compare[data-ready]")) comparison(box);
