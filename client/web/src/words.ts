import { Code, type StylizeError } from "@clipstyler/client/web";

export const JOB_LOST = "The server no longer has this job.";
export const PICTURE_LOST = "The picture can no longer be read from the server.";

/** Says how long something takes, roughly. */
export function roughly(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds <= 1) return "a second";
  if (seconds < 90) return `${seconds} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** Says when something happened. */
export function when(time: number): string {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  const clock = unbroken(date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  return isToday ? clock : `${date.toLocaleDateString([], { day: "numeric", month: "short" })}, ${clock}`;
}

/** Says how large a picture is. */
export function pixelWords({ width, height }: { width: number; height: number }): string {
  return unbroken(`${width} × ${height} px`);
}

/** A text that stays on one line. */
function unbroken(text: string): string {
  return text.replaceAll(" ", "\u00a0");
}

/** Says how large a file is. */
export function fileSize(bytes: number): string {
  return bytes < 2 ** 20 ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

const SENTENCES: Readonly<Record<string, string>> = {
  WORKER_NOT_READY: "The server is still starting.",
  DRAINING: "The server is restarting.",
  WORKER_CRASHED: "The worker crashed on this job; a new one is ready soon.",
  OUT_OF_MEMORY: "The device ran out of memory. A smaller size or fewer patches need less.",
  DIVERGED: "The optimization diverged. Weaker losses help.",
  TOO_MANY_CALLS: "Too many calls are open. Close other tabs of this page.",
};

/** Says what went wrong, and when to try again. */
export function problemText(error: StylizeError): string {
  const again = error.retryDelayMs ? ` Try again in ${roughly(error.retryDelayMs)}.` : "";
  if (error.reason === "QUEUE_FULL") return `The queue is full.${again || " Try again soon."}`;
  const known = SENTENCES[error.reason];
  if (known) return known + again;
  if (error.code === Code.Unavailable) return "The server cannot be reached. Check the connection and try again.";
  return sentence(error.message) + again;
}

const WARNINGS: Readonly<Record<string, string>> = {
  PHOTO_SMALLER_THAN_SIZE: "The photo is smaller than the size asked for, and keeps its size.",
};

/** Says what the server warns of. */
export function warningText({ code, message }: { code: string; message: string }): string {
  return WARNINGS[code] ?? sentence(message);
}

/** Makes a sentence of a message of the server, which begins in lower case and has no full stop. */
export function sentence(message: string): string {
  const text = message.trim();
  if (text === "") return "Something went wrong.";
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
