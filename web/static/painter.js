// A mask painted in the browser: strokes over the picture, sent as a PNG in the mask's field, white
// where something was painted. Strokes are kept and drawn again, so that any of them can be undone.
"use strict";

{
  const painter = document.getElementById("painter");
  if (painter) startPainter(painter);

  function startPainter(box) {
    const form = box.closest("form");
    const boxOf = (name) => form.elements[`${name}_file`].closest("[data-picture]");
    const picture = boxOf("image").querySelector(".preview");
    const mask = boxOf("mask").querySelector(".preview");
    const stage = box.querySelector(".stage");
    const canvas = stage.querySelector("canvas");
    const context = canvas.getContext("2d");
    const colour = getComputedStyle(stage).color;
    const brush = box.querySelector("#brush");
    let tool = "paint";
    let strokes = [];
    let base = null;
    let isPainted = false;

    function open() {
      stage.querySelector("img").src = picture.src;
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
      box.hidden = false;
      restart(false);
    }

    function restart(isChange) {
      strokes = [];
      isPainted = isChange;
      redraw();
    }

    function redraw() {
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (base) context.drawImage(base, 0, 0, canvas.width, canvas.height);
      strokes.forEach(draw);
    }

    function draw(stroke) {
      context.globalCompositeOperation = stroke.tool === "erase" ? "destination-out" : "source-over";
      context.strokeStyle = colour;
      context.lineWidth = stroke.width;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(...stroke.points[0]);
      // A line to where it is draws a dot.
      for (const point of stroke.points) context.lineTo(...point);
      context.stroke();
      context.globalCompositeOperation = "source-over";
    }

    function at(event) {
      const { left, top, width } = canvas.getBoundingClientRect();
      const scale = canvas.width / width;
      return [(event.clientX - left) * scale, (event.clientY - top) * scale];
    }

    // The brush is a share of the picture's shorter side, so that it looks alike in any size.
    const width = () => Math.max(1, (Number(brush.value) / 200) * Math.min(canvas.width, canvas.height));

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      strokes.push({ tool, width: width(), points: [at(event)] });
      isPainted = true;
      draw(strokes.at(-1));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      strokes.at(-1).points.push(at(event));
      redraw();
    });

    for (const button of box.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => {
        tool = button.dataset.tool;
        for (const each of box.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", each === button);
      });
    }
    box.querySelector("[data-does=undo]").addEventListener("click", () => {
      strokes.pop();
      redraw();
    });
    box.querySelector("[data-does=clear]").addEventListener("click", () => {
      base = null;
      restart(true);
    });

    // A mask belongs to its picture: another picture begins without.
    boxOf("image").addEventListener("picture", () => {
      dropMask();
      open();
    });
    boxOf("mask").addEventListener("picture", () => {
      base = asStrokes(mask);
      restart(false);
    });
    form.addEventListener("formdata", (event) => {
      if (!isPainted) return;
      const isBlank = !base && !strokes.some((stroke) => stroke.tool === "paint");
      if (isBlank) event.formData.set("mask", "");
      else event.formData.set("mask_file", asFile());
    });

    function dropMask() {
      base = null;
      form.elements.mask_file.value = "";
      form.elements.mask.value = "";
      mask.hidden = true;
      boxOf("mask").querySelector(".caption").textContent = "";
    }

    // A mask that was sent, in the painter's colour where the farm will see it; none if it lies on another site.
    function asStrokes(image) {
      const copy = document.createElement("canvas");
      copy.width = image.naturalWidth;
      copy.height = image.naturalHeight;
      const inside = copy.getContext("2d");
      inside.drawImage(image, 0, 0);
      try {
        const pixels = inside.getImageData(0, 0, copy.width, copy.height);
        if (!hasTransparency(pixels.data)) brightnessToAlpha(pixels.data);
        inside.putImageData(pixels, 0, 0);
      } catch {
        return null;
      }
      return tinted(copy, colour);
    }

    // As the farm reads masks: by their alpha where anything is transparent, else by their brightness.
    function hasTransparency(data) {
      for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
      return false;
    }

    function brightnessToAlpha(data) {
      for (let i = 0; i < data.length; i += 4) {
        data[i + 3] = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
      }
    }

    function tinted(drawing, style) {
      const copy = document.createElement("canvas");
      copy.width = drawing.width;
      copy.height = drawing.height;
      const inside = copy.getContext("2d");
      inside.drawImage(drawing, 0, 0);
      inside.globalCompositeOperation = "source-in";
      inside.fillStyle = style;
      inside.fillRect(0, 0, copy.width, copy.height);
      return copy;
    }

    function asFile() {
      const sheet = tinted(canvas, "#fff");
      const inside = sheet.getContext("2d");
      inside.globalCompositeOperation = "destination-over";
      inside.fillStyle = "#000";
      inside.fillRect(0, 0, sheet.width, sheet.height);
      const bytes = atob(sheet.toDataURL("image/png").split(",")[1]);
      return new File([Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))], "mask.png", { type: "image/png" });
    }

    function whenLoaded(image, then) {
      if (image.hidden) return;
      if (image.complete && image.naturalWidth) then();
      else image.addEventListener("load", then, { once: true });
    }

    whenLoaded(picture, () => {
      open();
      whenLoaded(mask, () => {
        base = asStrokes(mask);
        redraw();
      });
    });
  }
}
