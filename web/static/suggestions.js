// What the choice of a checkpoint or of a sampler means for the other fields: fills in what suits the
// checkpoint, where the user has not changed them, and offers the schedule types that the sampler has.
"use strict";

{
  const choices = JSON.parse(document.getElementById("choices").textContent);
  const form = document.getElementById("job");
  const line = document.getElementById("suggested");
  const filled = new Map();

  const isUntouched = (field) => field.value === (filled.get(field) ?? field.dataset.usual);
  const offers = (select, value) => Array.from(select.options).some((option) => option.value === value && !option.disabled);
  const canHold = (field, value) => field.tagName !== "SELECT" || offers(field, value);

  // Only a fresh form is filled at once: in one that came back the values are the user's.
  function suggest(mayFill) {
    const known = choices.checkpoints[form.elements.checkpoint.value] ?? { suggestions: {}, side: "" };
    const { trigger_words: words = [], licence, ...settings } = known.suggestions;
    if (mayFill) takeBack(settings);
    limitSchedules(mayFill);
    const done = mayFill ? Object.entries(settings).flatMap(([name, value]) => fill(name, String(value))) : [];
    showSize(known);
    showHint([
      known.note ?? "",
      done.length ? `Filled in what suits it: ${done.join(", ")}.` : "",
      words.length ? `Trigger words: ${words.join(", ")}.` : "",
      licence ? `Licence: ${licence.name ?? licence}.` : "",
    ]);
  }

  // What the checkpoint before suggested, and this one does not, has its usual value again.
  function takeBack(settings) {
    for (const [field, value] of filled) {
      if (field.name in settings || field.value !== value) continue;
      field.value = field.dataset.usual;
      filled.delete(field);
    }
  }

  function fill(name, value) {
    const field = form.elements[name];
    // With a picture, an empty side means the picture's own.
    if (form.elements.image && field?.matches("#width, #height")) return [];
    if (!field || !isUntouched(field) || !canHold(field, value)) return [];
    field.value = value;
    filled.set(field, value);
    if (name === "sampler") limitSchedules(true);
    return [`${field.labels[0].firstChild.textContent.trim()} ${value}`];
  }

  // What an empty side stands for.
  function showSize({ side, suggestions }) {
    if (form.elements.image) return;
    const isSuggested = "width" in suggestions && "height" in suggestions;
    for (const name of ["width", "height"]) {
      form.elements[name].placeholder = (isSuggested ? suggestions[name] : side) || "the checkpoint's";
    }
  }

  function showHint(sentences) {
    line.textContent = sentences.filter(Boolean).join(" ");
    line.hidden = line.textContent === "";
  }

  // One that came back chosen stays, though the sampler does not have it: the portal reports the mistake.
  function limitSchedules(mayChange) {
    const known = choices.schedule_types[form.elements.sampler.value] ?? [];
    const types = form.elements.schedule_type;
    for (const option of types.options) {
      const isKept = !mayChange && option.selected;
      option.disabled = option.hidden = !known.includes(option.value) && !isKept;
    }
    if (types.selectedOptions[0]?.disabled) types.value = known[0];
  }

  const isFresh = "fresh" in form.dataset;
  form.elements.checkpoint.addEventListener("change", () => suggest(true));
  form.elements.sampler.addEventListener("change", () => limitSchedules(true));
  suggest(isFresh);
}
