"use strict";

// An image enlarged, with what is said of it, and the way to its neighbours.

const dialog = document.getElementById("large");
let enlarged = null;

function enlarge(photo) {
  enlarged = photo;
  const [from, to] = [photo.querySelector("img"), dialog.querySelector("img")];
  to.src = from ? from.src : "data:,";
  to.alt = from ? from.alt : "";
  to.hidden = !from;
  dialog.querySelector(".file").textContent = [photo.dataset.label, photo.dataset.file].filter(Boolean).join(", ");
  dialog.querySelector("dl").replaceChildren(...[...(photo.querySelector("dl")?.children ?? [])].map((one) => one.cloneNode(true)));
  const neighbours = visible(photo.parentElement);
  dialog.querySelector(".previous").disabled = neighbours[0] === photo;
  dialog.querySelector(".next").disabled = neighbours.at(-1) === photo;
  if (dialog.open) return;
  dialog.showModal();
  history.pushState({ enlarged: true }, "");  // so that a phone's way back closes the image, and not the page
}

function visible(list) {
  return [...list.children].filter((photo) => !photo.hidden);
}

function turn(step) {
  const neighbours = visible(enlarged.parentElement);
  const photo = neighbours[neighbours.indexOf(enlarged) + step];
  if (photo) enlarge(photo);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".photo button");
  if (button) enlarge(button.closest("li"));
  else if (event.target === dialog) dialog.close();
});
dialog.querySelector(".previous").addEventListener("click", () => turn(-1));
dialog.querySelector(".next").addEventListener("click", () => turn(1));
// Of the whole page: a button at the end is disabled, and has no focus any more.
addEventListener("keydown", (event) => {
  const step = dialog.open && { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) turn(step);
});
addEventListener("popstate", () => dialog.close());
dialog.addEventListener("close", () => {
  if (history.state?.enlarged) history.back();
  if (enlarged?.classList.contains("folded")) photographs.fold(Infinity);
  enlarged?.querySelector("button")?.focus();
});
// One finger, that goes to a side more than up or down; whoever looks closer moves the image.
let touched = null;
dialog.addEventListener("touchstart", ({ touches: [first, second] }) => { touched = second ? null : first; }, { passive: true });
dialog.addEventListener("touchend", ({ changedTouches: [finger] }) => {
  if (!touched || visualViewport.scale > 1.01) return;
  const [right, down] = [finger.clientX - touched.clientX, finger.clientY - touched.clientY];
  if (Math.abs(right) > Math.max(40, 2 * Math.abs(down))) turn(right < 0 ? 1 : -1);
}, { passive: true });

// The chosen row's photographs: what its columns say of them, in its order, filtered.

// Two screens of them; the rest is folded away, though not for whoever turns from one to the next.
const FIRST = 24;
const chooser = document.getElementById("row");
const stored = document.getElementById("predictions");

function element(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// Of the networks of a column, as the page's maker has numbered it: whether most are right, some are, some are not.
const FACTS = ["right:open", "right:closed", "any-right:open", "any-wrong:open", "any-right:closed", "any-wrong:closed"];

function isFact(bits, name) {
  const turned = name.startsWith("wrong");
  return ((bits >> FACTS.indexOf(turned ? name.replace("wrong", "right") : name)) & 1) !== Number(turned);
}

class Photographs {
  constructor({ texts, rows }) {
    [this.texts, this.rows] = [texts, rows];
    this.lists = [...document.querySelectorAll("ul.photos")];
    this.photos = this.lists.map((list) => [...list.children]);
    [this.byClass, this.byColumn, this.byOrder] = ["class", "column", "order"].map((name) => document.getElementById(`by-${name}`));
    for (const control of [this.byClass, this.byColumn, this.byOrder]) control.addEventListener("change", () => this.filter());
    document.getElementById("reset").addEventListener("click", () => this.reset());
    this.more = document.getElementById("more");
    this.more.addEventListener("click", () => this.fold(Infinity));
    const all = document.getElementById("print-all");
    all.addEventListener("change", () => document.body.classList.toggle("print-all", all.checked));
  }

  choose(number) {
    this.row = this.rows[number];
    for (const part of document.querySelectorAll("[data-sheet]")) part.hidden = Number(part.dataset.sheet) !== this.row?.sheet;
    if (!this.row) return;
    this.list = this.lists[this.row.sheet];
    for (const note of document.querySelectorAll(".row-note")) note.textContent = this.row.note;
    const photos = this.photos[this.row.sheet];
    this.shown = this.row.photographs.map(([place, ...answers]) => ({
      photo: photos[place],
      right: this.row.columns.map((_, index) => answers[2 * index + 1]),
      texts: this.row.columns.map((_, index) => this.texts[answers[2 * index]]),
    }));
    for (const photo of photos) photo.hidden = true;
    for (const { photo, right, texts } of this.shown) {
      const lines = this.row.columns.flatMap(({ title, colour }, index) => [
        element("dt", { className: colour, textContent: title }), element("dd", { textContent: texts[index] }),
      ]);
      photo.querySelector("dl").replaceChildren(...lines);
      photo.classList.toggle("mistake", right.some((bits) => isFact(bits, "wrong:open")));
    }
    this.offer();
    this.filter();
  }

  offer() {
    const classes = [...new Set(this.shown.map(({ photo }) => photo.dataset.label))].sort();
    this.byClass.replaceChildren(new Option("all", ""), ...classes.map((name) => new Option(name)));
    this.byColumn.replaceChildren(...this.row.columns.map(({ key, title, open, several }) => {
      const outcomes = [["right", "right"], ["wrong", "wrong"]];
      if (several) outcomes.push(["any-right", "right in some network"], ["any-wrong", "wrong in some network"]);
      const choices = [["", "right or wrong"], ...outcomes.map(([value, text]) => [`${value}:open`, text])];
      if (open) choices.push(...outcomes.map(([value, text]) => [`${value}:closed`, `${text}, closed-set`]));
      const select = element("select", {}, ...choices.map(([value, text]) => new Option(text, value)));
      select.dataset.column = key;
      return element("label", {}, title, select);
    }));
  }

  selects() {
    return [...this.byColumn.querySelectorAll("select")];
  }

  reset() {
    this.byClass.value = "";
    for (const select of this.selects()) select.value = "";
    this.filter();
  }

  show(filter) {
    this.byClass.value = "";
    for (const select of this.selects()) {
      const wanted = filter.split(" ").find((part) => part.startsWith(`${select.dataset.column}:`));
      select.value = wanted ? wanted.slice(select.dataset.column.length + 1) : "";
    }
    this.filter();
  }

  fold(most) {
    this.fitting.forEach((photo, place) => photo.classList.toggle("folded", place >= most));
    const left = this.fitting.length - most;
    this.more.hidden = left <= 0;
    this.more.textContent = `show ${left} more`;
  }

  filter() {
    const wanted = this.selects().map((select) => select.value);
    let count = 0;
    for (const { photo, right } of this.shown) {
      const fits = wanted.every((fact, index) => !fact || isFact(right[index], fact));
      photo.hidden = !fits || (this.byClass.value !== "" && photo.dataset.label !== this.byClass.value);
      count += photo.hidden ? 0 : 1;
    }
    const ordered = this.shown.map(({ photo }) => photo);
    if (this.byOrder.value === "name") ordered.sort((a, b) => (a.dataset.file < b.dataset.file ? -1 : 1));
    this.list.append(...ordered);
    this.fitting = ordered.filter((photo) => !photo.hidden);
    this.fold(FIRST);
    document.getElementById("count").textContent = `${count} of ${this.list.dataset.total} images`;
  }
}

const photographs = stored ? new Photographs(JSON.parse(stored.textContent)) : null;

function choose(number) {
  chooser.value = number;
  for (const part of document.querySelectorAll("[data-row]")) part.hidden = part.dataset.row !== String(number);
  photographs?.choose(number);
}

if (chooser) {
  chooser.addEventListener("change", () => choose(chooser.value));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-filter]");
    if (!link) return;
    choose(link.dataset.show);
    photographs?.show(link.dataset.filter);
  });
  choose(chooser.options.length ? "0" : "");
}

// On paper nothing can be unfolded.
const folded = () => document.querySelectorAll("details:not([open])");
let unfolded = [];
addEventListener("beforeprint", () => { unfolded = [...folded()]; unfolded.forEach((one) => { one.open = true; }); });
addEventListener("afterprint", () => { unfolded.forEach((one) => { one.open = false; }); });
