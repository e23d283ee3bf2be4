import { type Run } from "./run";

const EXTENSIONS: Readonly<Record<string, string>> = { "image/jpeg": "jpg", "image/webp": "webp", "image/png": "png" };
const LONG_ENOUGH_MS = 60_000;

/** Hands a picture of a job to the browser's downloads. */
export function savePicture(run: Run, picture: Blob): void {
  const isResult = picture === run.result;
  save(picture, `${nameOf(run)}${isResult ? "" : "-preview"}.${EXTENSIONS[picture.type] ?? "png"}`);
}

/** Hands everything that repeats a result to the browser's downloads. */
export function saveSettings(run: Run): void {
  save(new Blob([run.record.description], { type: "application/json" }), `${nameOf(run)}.json`);
}

function nameOf({ record }: Run): string {
  const words = record.settings.text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return [words.join("-").slice(0, 60) || "picture", record.settings.seed].filter(Boolean).join("-");
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), LONG_ENOUGH_MS);
}
