import { LOOKS, MODIFIERS } from "virtual:vocabulary";
import { make } from "./dom";

const COLUMNS = 10;
const SHOWN_AT_FIRST = 12;
// A varied first dozen, by name.
const FAVORITES = [
  "fire", "stained glass", "pencil sketch", "starry night", "watercolor painting", "mosaic",
  "neon light", "gold", "ukiyo-e", "crystal", "woodcut", "low poly",
];
const FILLERS = new Set(["the", "and", "with", "from", "made", "style", "painting", "like", "photo", "picture", "for"]);

/** A look that the bundled encoders know. */
export interface Look {
  readonly name: string;
  readonly wordings: readonly string[];
  /** Of its tile. */
  readonly index: number;
}

const ALL: readonly Look[] = LOOKS.map((wordings, index) => ({ name: wordings[0], wordings, index }));
const favorites = FAVORITES.map((name) => ALL.find((look) => look.name === name)).filter((look) => look !== undefined);
const IN_ORDER = [...new Set([...favorites, ...ALL])];
const KNOWN_WORDS = new Set([...LOOKS.flat(), ...MODIFIERS].flatMap(words).map(stem));

/** All looks: those that fit what was typed so far first, then a varied choice, then the rest. */
export function looksFor(typed: string): readonly Look[] {
  const text = typed.trim().toLowerCase();
  const rank = (look: Look) => (text === "" ? 0 : Math.floor(score(look, text)));
  return [...IN_ORDER].sort((one, other) => rank(other) - rank(one));
}

/** The names of the looks that are nearest to a text, by their letters. */
export function nearestTo(text: string, count: number): string[] {
  const scored = ALL.map(({ name, wordings }) => ({ name, score: score({ wordings }, text.trim().toLowerCase()) }));
  return scored.sort((one, other) => other.score - one.score).slice(0, count).map(({ name }) => name);
}

/** Whether a text has words that carry meaning, and all of them are unknown. */
export function isUnknown(typed: string): boolean {
  const meaningful = words(typed).filter((word) => word.length > 2 && !FILLERS.has(word));
  return meaningful.length > 0 && meaningful.every((word) => !KNOWN_WORDS.has(stem(word)));
}

/** Makes the button that fills in a look. */
export function chipOf(look: Look, choose: (name: string) => void): HTMLButtonElement {
  const tile = make("span", { className: "tile", ariaHidden: "true" });
  tile.style.setProperty("--column", String(look.index % COLUMNS));
  tile.style.setProperty("--line", String(Math.floor(look.index / COLUMNS)));
  const chip = make("button", { type: "button", className: "chip" }, tile, look.name);
  chip.addEventListener("click", () => choose(look.name));
  return chip;
}

/** How many of the looks are shown. */
export function shownCount(isExpanded: boolean): number {
  return isExpanded ? ALL.length : SHOWN_AT_FIRST;
}

export const LOOK_COUNT = ALL.length;

function words(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

function stem(word: string): string {
  return word.replace(/(es|s|y|ed|ing)$/, "");
}

/** 2 if a name or wording begins so, 1 if one contains it, below 1 by shared letters. */
function score({ wordings }: Pick<Look, "wordings">, text: string): number {
  const known = wordings.map((wording) => wording.toLowerCase());
  if (known.some((wording) => wording.startsWith(text))) return 2;
  if (known.some((wording) => wording.includes(text))) return 1;
  return Math.max(...known.map((wording) => similarity(wording, text)));
}

/** The share of pairs of letters that two texts have in common, 0 to 1. */
function similarity(one: string, other: string): number {
  const pairs = pairsOf(one);
  const others = pairsOf(other);
  const shared = [...pairs].filter((pair) => others.has(pair)).length;
  return (2 * shared) / Math.max(1, pairs.size + others.size) / 1.01;
}

function pairsOf(text: string): Set<string> {
  const pairs = new Set<string>();
  for (let index = 0; index < text.length - 1; index++) pairs.add(text.slice(index, index + 2));
  return pairs;
}
