// Keeps the part of a page marked `data-live` up to date: asks the portal for it again and swaps it
// in. The portal leaves the mark out once nothing will change any more, and that ends it. Everything
// works without this file; then the page shows how things stood when it was opened.
"use strict";

const PERIOD_MS = 1000;

async function refresh(box, shown) {
  let html = shown;
  if (!document.hidden) {
    html = await load(box.dataset.live);
    document.body.classList.toggle("is-unreachable", html === null);
  }
  if (html !== null && html !== shown && !isInUse(box)) {
    box = swap(box, html);
    shown = html;
  }
  watch(box, shown);
}

async function load(url) {
  try {
    const response = await fetch(url, { cache: "no-store" });
    return response.ok ? await response.text() : null;
  } catch {
    return null;
  }
}

// A button that is being pressed or a text that is being marked must not be replaced.
function isInUse(box) {
  const selection = document.getSelection();
  const isMarking = !selection.isCollapsed && selection.containsNode(box, true);
  return isMarking || box.querySelector(":active") !== null;
}

function swap(box, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  keepImages(box, fresh);
  keepOpen(box, fresh);
  const focused = box.contains(document.activeElement) ? document.activeElement.id : "";
  box.replaceWith(fresh);
  if (focused) document.getElementById(focused)?.focus();
  return fresh;
}

// An image that is shown already stays the same element, so that it does not flicker.
function keepImages(old, fresh) {
  const shown = new Map(Array.from(old.querySelectorAll("img"), (image) => [image.src, image]));
  for (const image of fresh.querySelectorAll("img")) {
    const same = shown.get(image.src);
    if (same) image.replaceWith(same);
  }
}

// Details that the user opened stay open.
function keepOpen(old, fresh) {
  for (const details of old.querySelectorAll("details[open]")) {
    const same = fresh.querySelector(`#${details.id}`);
    if (same) same.open = true;
  }
}

function watch(box, shown) {
  if (box.dataset.live) setTimeout(refresh, PERIOD_MS, box, shown);
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

for (const box of document.querySelectorAll("[data-live]")) watch(box, "");
