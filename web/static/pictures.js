// Pictures of the submit form: dropped onto their field, pasted, or chosen, and shown before they are
// sent. Every way ends in the file field, which the form sends as usual.
// An image dropped onto the prompts is read for what made it, which fills in the form.
"use strict";

{
  const boxes = Array.from(document.querySelectorAll("[data-picture]"));
  const fileOf = (transfer) => Array.from(transfer?.files ?? []).find((file) => file.type.startsWith("image/"));

  for (const box of boxes) {
    const input = box.querySelector("input[type=file]");
    input.addEventListener("change", () => show(box, input));
    onDrop(box, (file) => take(box, file));
  }

  onDrop(document.getElementById("prompts"), (file) => {
    put(file, document.getElementById("read_file"));
    document.getElementById("job").requestSubmit(document.getElementById("read"));
  });

  function onDrop(target, use) {
    const mark = (isOver) => target.classList.toggle("is-over", isOver);
    for (const kind of ["dragenter", "dragover"]) {
      target.addEventListener(kind, (event) => {
        // Text may be dropped as ever.
        if (!event.dataTransfer.types.includes("Files")) return;
        event.preventDefault();
        mark(true);
      });
    }
    target.addEventListener("dragleave", () => mark(false));
    target.addEventListener("drop", (event) => {
      mark(false);
      const file = fileOf(event.dataTransfer);
      if (!file) return;
      event.preventDefault();
      use(file);
    });
  }

  // Into the field that has the focus, else into the first.
  document.addEventListener("paste", (event) => {
    const file = fileOf(event.clipboardData);
    const box = boxes.find((each) => each.contains(document.activeElement)) ?? boxes[0];
    if (!file || !box) return;
    event.preventDefault();
    take(box, file);
  });

  function take(box, file) {
    const input = box.querySelector("input[type=file]");
    put(file, input);
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function put(file, input) {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
  }

  function show(box, input) {
    const file = input.files[0];
    const most = Number(box.dataset.mostBytes);
    input.setCustomValidity(file && file.size > most ? `Larger than ${most.toLocaleString("en")} bytes, the most that this farm accepts.` : "");
    if (!file) return;
    if (!input.reportValidity()) return;
    // As a data: URL, because the page's policy knows no others made by scripts.
    const reader = new FileReader();
    reader.addEventListener("load", () => present(box, reader.result));
    reader.readAsDataURL(file);
  }

  function present(box, url) {
    const preview = box.querySelector(".preview");
    const caption = box.querySelector(".caption");
    preview.onload = () => {
      preview.hidden = false;
      caption.textContent = `${preview.naturalWidth} × ${preview.naturalHeight}`;
      box.dispatchEvent(new CustomEvent("picture", { bubbles: true }));
    };
    preview.onerror = () => {
      preview.hidden = true;
      caption.textContent = "This cannot be shown here; the farm checks it once it is sent.";
    };
    preview.src = url;
  }
}
