import { type FieldViolation, type ServerInfo } from "@clipstyler/client/web";
import { byId, make, showText } from "./dom";
import { chipOf, isUnknown, LOOK_COUNT, looksFor, nearestTo, shownCount } from "./looks";
import { defaultOutputSize, drawSeed, encoderSetOf, isSeed, NUMBERS, PRESETS, STRENGTHS, type PresetName, type Settings, type Strength } from "./settings";
import { sentence } from "./words";

const BUNDLED = "pocket";
const MAX_STRENGTH = 4;
// Where a field of the request stands on the page: the element with its problem, and the one to type into.
const PLACES: readonly (readonly [path: RegExp, error: string, input: string])[] = [
  [/style_text/, "text-error", "style-text"],
  [/source_text/, "source-error", "source-text"],
  [/options\.size/, "size-error", "size"],
  [/options\.output_size/, "output-size-error", "output-size"],
  [/options\.steps/, "steps-error", "steps"],
  [/options\.patches/, "patches-error", "patches"],
  [/options\.seed/, "seed-error", "seed"],
  [/options\.preset/, "preset-error", "preset"],
  [/options\.encoder_set/, "encoder-set-error", "encoder-set"],
  [/(image|photo|upload)/, "photo-error", "choose"],
];

type NumberName = (typeof NUMBERS)[number];

/** The field of a number. */
function inputOf(name: NumberName): HTMLInputElement {
  return byId<HTMLInputElement>(name === "outputSize" ? "output-size" : name);
}

/** The right side of the page: what is asked for. */
export class Form {
  readonly #text = byId<HTMLInputElement>("style-text");
  readonly #preset = byId<HTMLSelectElement>("preset");
  readonly #seed = byId<HTMLInputElement>("seed");
  readonly #encoderSet = byId<HTMLSelectElement>("encoder-set");
  readonly #sliders = new Map<Strength, HTMLInputElement>();
  #info: ServerInfo | undefined;
  #areAllLooksShown = false;

  constructor(submit: () => void) {
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    this.#text.addEventListener("input", () => {
      this.#showLooks();
      this.#showHint();
      showText(byId("text-error"), "");
    });
    byId("more-looks").addEventListener("click", () => {
      this.#areAllLooksShown = !this.#areAllLooksShown;
      this.#showLooks();
    });
    byId("draw-seed").addEventListener("click", () => (this.#seed.value = drawSeed()));
    this.#preset.addEventListener("change", () => this.#showDefaults());
    this.#encoderSet.addEventListener("change", () => {
      this.#showDefaults();
      this.#showHint();
    });
    for (const strength of STRENGTHS) byId("strengths").append(this.#slider(strength));
    this.#showLooks();
  }

  /** Show the limits, presets and encoders of the server. */
  showServer(info: ServerInfo): void {
    const chosen = this.#chosenEncoders;
    this.#info = info;
    const { limits } = info;
    if (limits) {
      this.#text.maxLength = limits.maxTextCharacters;
      inputOf("size").max = String(limits.maxSize);
      inputOf("outputSize").max = String(limits.maxOutputSize || "");
      inputOf("steps").max = String(limits.maxSteps);
      inputOf("patches").max = String(limits.maxPatches);
    }
    this.#offerEncoders(chosen);
    this.#showDefaults();
    this.#showHint();
  }

  /** The settings as they stand, or undefined if a field is wrong: it says so itself. */
  read(): Settings | undefined {
    this.clearErrors();
    const text = this.#text.value.trim();
    const seed = this.#seed.value.trim();
    if (text === "") this.#complain("text-error", "style-text", "Say what it should look like, or choose a look below.");
    if (seed !== "" && !isSeed(seed)) this.#complain("seed-error", "seed", "A seed is a whole number, or nothing.");
    const numbers = NUMBERS.map((name) => [name, this.#number(name)] as const);
    if (document.querySelector("#form .error:not([hidden])")) return undefined;
    const sourceText = byId<HTMLInputElement>("source-text").value.trim();
    const encoderSet = this.#chosenEncoders;
    return {
      text,
      preset: this.#preset.value as PresetName,
      ...Object.fromEntries(numbers.filter(([, value]) => value !== undefined)),
      ...(seed !== "" && { seed }),
      ...(sourceText && { sourceText }),
      ...(encoderSet && { encoderSet }),
      strengths: this.#readStrengths(),
      previews: byId<HTMLInputElement>("previews").checked,
    };
  }

  /** Fill in settings. */
  fill(settings: Settings): void {
    this.#text.value = settings.text;
    this.#preset.value = settings.preset;
    for (const name of NUMBERS) inputOf(name).value = String(settings[name] ?? "");
    this.#seed.value = settings.seed ?? "";
    byId<HTMLInputElement>("source-text").value = settings.sourceText ?? "";
    byId<HTMLInputElement>("previews").checked = settings.previews;
    this.#offerEncoders(settings.encoderSet);
    for (const [name, slider] of this.#sliders) {
      slider.value = String(settings.strengths[name] ?? 1);
      slider.dispatchEvent(new Event("input"));
    }
    this.clearErrors();
    this.#showLooks();
    this.#showDefaults();
    this.#showHint();
  }

  /** Show what the server finds wrong, each beside its field; returns what has no field here. */
  showViolations(violations: readonly FieldViolation[]): string {
    const rest: string[] = [];
    for (const { field, description } of violations) {
      const place = PLACES.find(([path]) => path.test(field));
      if (place) this.#complain(place[1], place[2], sentence(description));
      else rest.push(`${field}: ${description}`);
    }
    return rest.map(sentence).join(" ");
  }

  clearErrors(): void {
    for (const error of document.querySelectorAll<HTMLElement>("#form .error, #photo-error")) showText(error, "");
    for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  /** Show what the encoders reported about a text, while that is in the field; empty for nothing. */
  showTextWarning(warning: string, text: string): void {
    if (warning && text.trim() === this.#text.value.trim()) showText(byId("text-hint"), warning);
    else this.#showHint();
  }

  focusText(): void {
    this.#text.focus();
    this.#text.select();
  }

  #complain(errorId: string, inputId: string, text: string): void {
    const isFirst = !document.querySelector("[aria-invalid]");
    showText(byId(errorId), text);
    const input = byId(inputId);
    if (input.closest("details")) byId<HTMLDetailsElement>("advanced").open = true;
    input.setAttribute("aria-invalid", "true");
    if (isFirst && input.offsetParent !== null) input.focus();
  }

  #number(name: NumberName): number | undefined {
    const input = inputOf(name);
    const { id } = input;
    if (input.value === "" && !input.validity.badInput) return undefined;
    const value = Number(input.value);
    const { rangeOverflow, rangeUnderflow, badInput, stepMismatch } = input.validity;
    if (rangeUnderflow || rangeOverflow) this.#complain(`${id}-error`, id, `From ${input.min} to ${input.max || "more"}.`);
    else if (badInput || stepMismatch) this.#complain(`${id}-error`, id, "A whole number, or nothing.");
    return value;
  }

  #readStrengths(): Partial<Record<Strength, number>> {
    const factors = [...this.#sliders].map(([name, slider]) => [name, Number(slider.value)] as const);
    return Object.fromEntries(factors.filter(([, factor]) => factor !== 1));
  }

  #slider({ name, label, about }: (typeof STRENGTHS)[number]): HTMLElement {
    const id = `strength-${name}`;
    const properties = { id, type: "range", min: "0", max: String(MAX_STRENGTH), step: "0.25", value: "1" };
    const slider = make("input", properties);
    const output = make("output", {});
    const show = () => {
      const factor = Number(slider.value);
      const words = factor === 0 ? "off" : factor === 1 ? "as calibrated" : `${factor} ×`;
      output.textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    slider.addEventListener("input", show);
    show();
    this.#sliders.set(name, slider);
    const title = make("label", { htmlFor: id }, label, " ", make("span", { className: "unit" }, about));
    return make("div", { className: "strength" }, title, output, slider);
  }

  /** Offer the encoders of the server, the default first, and those that a link asks for, which it may not have. */
  #offerEncoders(chosen: string | undefined): void {
    const names = this.#info?.encoderSets.map(({ name }) => name) ?? [];
    const offered = new Set(chosen ? [...names, chosen] : names);
    this.#encoderSet.replaceChildren(...[...offered].map((name) => make("option", { value: name }, name)));
    this.#encoderSet.value = chosen ?? names[0] ?? "";
    byId("encoders-field").hidden = offered.size < 2;
  }

  /** Undefined for the default of the server. */
  get #chosenEncoders(): string | undefined {
    const { value } = this.#encoderSet;
    return value === "" || value === this.#info?.encoderSets[0]?.name ? undefined : value;
  }

  #showLooks(): void {
    const count = shownCount(this.#areAllLooksShown);
    const choose = (name: string) => {
      this.#text.value = name;
      this.#text.dispatchEvent(new Event("input"));
      this.#text.focus();
    };
    byId("looks").replaceChildren(...looksFor(this.#text.value).slice(0, count).map((look) => chipOf(look, choose)));
    byId("looks").classList.toggle("all", this.#areAllLooksShown);
    const more = byId("more-looks");
    more.textContent = this.#areAllLooksShown ? "Show fewer" : `Show all ${LOOK_COUNT}`;
    more.ariaExpanded = String(this.#areAllLooksShown);
  }

  #showHint(): void {
    const text = this.#text.value;
    const set = encoderSetOf(this.#encoderSet.value, this.#info);
    const hint = `These encoders may not know this. Looks that they know: ${nearestTo(text, 3).join(", ")}, …`;
    showText(byId("text-hint"), set?.name === BUNDLED && isUnknown(text) ? hint : "");
  }

  #showDefaults(): void {
    const preset = this.#info?.presets.find(({ preset }) => preset === PRESETS[this.#preset.value as PresetName]);
    for (const name of ["size", "steps", "patches"] as const) {
      inputOf(name).placeholder = preset ? String(preset[name]) : "";
    }
    inputOf("outputSize").placeholder = `up to ${defaultOutputSize(this.#info)}`;
    const set = encoderSetOf(this.#encoderSet.value, this.#info);
    if (set) byId<HTMLInputElement>("source-text").placeholder = set.sourceText;
  }
}
