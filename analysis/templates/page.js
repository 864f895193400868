"use strict";
const dialog = document.getElementById("large");
document.addEventListener("click", (event) => {
  const button = event.target.closest(".photo button");
  if (button) {
    const [from, to] = [button.querySelector("img"), dialog.querySelector("img")];
    to.src = from.src;
    to.alt = from.alt;
    dialog.querySelector("p").textContent = button.closest("li").dataset.file;
    dialog.showModal();
  } else if (event.target === dialog) dialog.close();
});

const list = document.getElementById("photos");
if (list) {
  const photos = [...list.children];
  const controls = ["class", "column", "outcome", "order"].map((name) => document.getElementById(`by-${name}`));
  const count = document.getElementById("count");
  const sharesRight = (photo) => JSON.parse(photo.dataset.right);

  function matches(photo, label, column, outcome) {
    if (label && photo.dataset.label !== label) return false;
    if (!outcome) return true;
    const right = sharesRight(photo);
    const shares = column ? [right[column]] : Object.values(right);
    return outcome === "right" ? shares.every((share) => share > 0.5) : shares.some((share) => share <= 0.5);
  }

  function show() {
    const [label, column, outcome, order] = controls.map((control) => control.value);
    let visible = 0;
    for (const photo of photos) {
      photo.hidden = !matches(photo, label, column, outcome);
      visible += photo.hidden ? 0 : 1;
      for (const line of photo.querySelectorAll("[data-column]")) line.hidden = column && line.dataset.column !== column;
    }
    const by = order === "name" ? (a, b) => (a.dataset.file < b.dataset.file ? -1 : 1)
      : (a, b) => photos.indexOf(a) - photos.indexOf(b);
    list.append(...[...photos].sort(by));
    count.textContent = `${visible} of ${list.dataset.total} images`;
  }

  for (const control of controls) control.addEventListener("change", show);
  show();
}
