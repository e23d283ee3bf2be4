import { Preset, type EncoderSet, type ServerInfo, type SpecInit, type StylizationSpec } from "@clipstyler/client/web";

/** The losses whose strength can be changed: their name in the contract, and in words. */
export const STRENGTHS = [
  { name: "direction", option: "weightDirection", label: "Whole picture", about: "directional loss" },
  { name: "patch", option: "weightPatch", label: "Texture", about: "patch loss" },
  { name: "content", option: "weightContent", label: "Keep the photo", about: "content loss" },
  { name: "tv", option: "weightTv", label: "Smoothness", about: "total variation" },
] as const;

export type Strength = (typeof STRENGTHS)[number]["name"];
export const PRESETS = { draft: Preset.DRAFT, paper: Preset.PAPER } as const;
export type PresetName = keyof typeof PRESETS;

/** What is asked for besides the photo. Whatever is left out has the default of the server. */
export interface Settings {
  readonly text: string;
  readonly preset: PresetName;
  readonly sourceText?: string;
  readonly size?: number;
  /** Longest side of the result. */
  readonly outputSize?: number;
  readonly steps?: number;
  readonly patches?: number;
  /** Decimal digits: a seed has more bits than a number. */
  readonly seed?: string;
  /** As a factor of the calibrated weight. */
  readonly strengths: Partial<Record<Strength, number>>;
  readonly encoderSet?: string;
  readonly previews: boolean;
}

export const DEFAULTS: Settings = { text: "", preset: "draft", strengths: {}, previews: true };

const PREVIEW_COUNT = 20;
const PREVIEW_SIZE = 512;
// Sharp on any screen, and drawn within seconds on a CPU.
const OUTPUT_SIZE = 2048;
/** Settings that are whole numbers. */
export const NUMBERS = ["size", "outputSize", "steps", "patches"] as const;
const MAX_SEED = 2n ** 63n - 1n;

/** Draws a seed that is short enough to be read out. */
export function drawSeed(): string {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]! % 1_000_000);
}

/** Whether a text is a seed. */
export function isSeed(text: string): boolean {
  return /^\d{1,19}$/.test(text) && BigInt(text) <= MAX_SEED;
}

/** Returns the request's spec, but for the photo, whose longest side may be unknown. */
export function specOf(settings: Settings, info: ServerInfo | undefined, photoPx = 0): Omit<SpecInit, "photo"> {
  const { size, steps, patches, seed, sourceText, encoderSet } = settings;
  const most = defaultOutputSize(info);
  // Left out, it is the photo's.
  const outputSize = settings.outputSize ?? (photoPx > most ? most : undefined);
  const options = {
    preset: PRESETS[settings.preset],
    ...(size !== undefined && { size }),
    ...(outputSize !== undefined && { outputSize }),
    ...(steps !== undefined && { steps }),
    ...(patches !== undefined && { patches }),
    ...(seed !== undefined && { seed: BigInt(seed) }),
    ...(encoderSet !== undefined && { encoderSet }),
    ...weights(settings, info),
  };
  const draft = settings.previews ? "auto" : "";
  const previews = { everySteps: previewInterval(settings, info), maxSize: previewSize(info), draft };
  return { styleText: settings.text, options, previews, ...(sourceText !== undefined && { sourceText }) };
}

/** The longest side that a result has at most, unless another one is chosen. */
export function defaultOutputSize(info: ServerInfo | undefined): number {
  return Math.min(OUTPUT_SIZE, info?.limits?.maxOutputSize || OUTPUT_SIZE);
}

function weights(settings: Settings, info: ServerInfo | undefined): Record<string, number> {
  const calibration = encoderSetOf(settings.encoderSet, info)?.calibration;
  const found: Record<string, number> = {};
  for (const { name, option } of STRENGTHS) {
    const factor = settings.strengths[name];
    const calibrated = calibration?.[option];
    if (factor !== undefined && calibrated !== undefined) found[option] = factor * calibrated;
  }
  return found;
}

/** Returns the encoder set of a name, or the server's default. */
export function encoderSetOf(name: string | undefined, info: ServerInfo | undefined): EncoderSet | undefined {
  return info?.encoderSets.find((set) => set.name === name) ?? info?.encoderSets[0];
}

/** Steps between two previews: some twenty previews, whatever the number of steps is. */
function previewInterval(settings: Settings, info: ServerInfo | undefined): number {
  if (!settings.previews) return 0;
  const preset = info?.presets.find(({ preset }) => preset === PRESETS[settings.preset]);
  const steps = settings.steps ?? preset?.steps ?? 60;
  return Math.max(1, Math.round(steps / PREVIEW_COUNT));
}

function previewSize(info: ServerInfo | undefined): number {
  return Math.min(PREVIEW_SIZE, info?.limits?.maxPreviewSize ?? PREVIEW_SIZE);
}

/** Whether the result of a resolved spec is drawn larger than it is optimized. */
export function isDrawnLarger(spec: StylizationSpec | undefined): boolean {
  const { size = 0, outputSize = 0 } = spec?.options ?? {};
  return outputSize > size;
}

/** Returns the settings that repeat a job: those that were asked for, with the seed that was used. */
export function repeating(settings: Settings, spec: StylizationSpec | undefined): Settings {
  const seed = spec?.options?.seed;
  return seed === undefined ? settings : { ...settings, seed: String(seed) };
}

/** Returns the settings that a resolved spec stands for, of a job that another browser created. */
export function settingsOf(spec: StylizationSpec | undefined, info: ServerInfo | undefined): Settings {
  const options = spec?.options;
  const set = encoderSetOf(options?.encoderSet, info);
  const strengths: Partial<Record<Strength, number>> = {};
  for (const { name, option } of STRENGTHS) {
    const [weight, calibrated] = [options?.[option], set?.calibration?.[option]];
    if (weight !== undefined && calibrated && weight !== calibrated) strengths[name] = weight / calibrated;
  }
  return {
    text: spec?.styleText ?? "",
    preset: options?.preset === Preset.PAPER ? "paper" : "draft",
    ...(options?.size !== undefined && { size: options.size }),
    ...(options?.outputSize && { outputSize: options.outputSize }),
    ...(options?.steps !== undefined && { steps: options.steps }),
    ...(options?.patches !== undefined && { patches: options.patches }),
    ...(options?.seed !== undefined && { seed: String(options.seed) }),
    ...(spec?.sourceText && spec.sourceText !== set?.sourceText && { sourceText: spec.sourceText }),
    ...(options?.encoderSet && options.encoderSet !== info?.encoderSets[0]?.name && { encoderSet: options.encoderSet }),
    strengths,
    previews: spec?.previews?.everySteps !== 0,
  };
}

/** Writes settings, and the job that they belong to, as the fragment of a link. */
export function toFragment(settings: Settings, job?: string): string {
  const parameters = new URLSearchParams();
  if (job) parameters.set("job", job.replace("stylizations/", ""));
  parameters.set("text", settings.text);
  if (settings.preset !== DEFAULTS.preset) parameters.set("preset", settings.preset);
  for (const name of [...NUMBERS, "seed", "sourceText", "encoderSet"] as const) {
    if (settings[name] !== undefined) parameters.set(name, String(settings[name]));
  }
  for (const [name, factor] of Object.entries(settings.strengths)) parameters.set(name, String(factor));
  if (!settings.previews) parameters.set("previews", "off");
  return `#${parameters}`;
}

/** Reads the fragment of a link; what is not understood is left out. */
export function fromFragment(fragment: string): { settings: Settings; job: string | undefined; isEmpty: boolean } {
  const parameters = new URLSearchParams(fragment.replace(/^#/, ""));
  const numbers: Partial<Record<(typeof NUMBERS)[number], number>> = {};
  for (const name of NUMBERS) {
    const value = Number(parameters.get(name));
    if (Number.isInteger(value) && value > 0) numbers[name] = value;
  }
  const strengths: Partial<Record<Strength, number>> = {};
  for (const { name } of STRENGTHS) {
    const value = parameters.get(name);
    if (value !== null && Number(value) >= 0) strengths[name] = Number(value);
  }
  const seed = parameters.get("seed") ?? "";
  const sourceText = parameters.get("sourceText");
  const encoderSet = parameters.get("encoderSet");
  const settings: Settings = {
    text: parameters.get("text") ?? "",
    preset: parameters.get("preset") === "paper" ? "paper" : "draft",
    ...numbers,
    ...(isSeed(seed) && { seed }),
    ...(sourceText && { sourceText }),
    ...(encoderSet && { encoderSet }),
    strengths,
    previews: parameters.get("previews") !== "off",
  };
  const uuid = parameters.get("job") ?? "";
  const job = /^[0-9a-f-]{36}$/.test(uuid) ? `stylizations/${uuid}` : undefined;
  return { settings, job, isEmpty: !parameters.has("job") && !parameters.has("text") };
}
