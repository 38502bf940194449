// The tabs of the submit form: another mode shows its form with what was filled in before. Without
// this file a tab is a link to an empty form. And what is wrong is gone to at once.
"use strict";

const job = document.getElementById("job");

for (const tab of document.querySelectorAll("[data-switch]")) {
  tab.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const wish = Object.assign(document.createElement("input"), { type: "hidden", name: "switch", value: tab.dataset.switch });
    job.append(wish);
    job.submit();
    wish.remove();
  });
}

job.querySelector("[aria-invalid]")?.focus();
