import { Code, ServerInfo_Worker_State, StylizeError, type Client, type ServerInfo } from "@clipstyler/client/web";
import { byId } from "./dom";

const TIMEOUT_MS = 4_000;
const READY_INTERVAL_MS = 15_000;
const UNREADY_INTERVAL_MS = 1_500;
const READY = [ServerInfo_Worker_State.IDLE, ServerInfo_Worker_State.BUSY];

/** Shows how the server is, now and from time to time, and hands on its description. Returns what asks it at once. */
export function observeServer(client: Client, describe: (info: ServerInfo) => void): () => void {
  const place = byId("server");
  let timer = 0;
  let latest: Promise<ServerInfo> | undefined;
  const look = async () => {
    clearTimeout(timer);
    const asked = (latest = client.serverInfo({ timeoutMs: TIMEOUT_MS }));
    let isReady = false;
    try {
      const info = await asked;
      if (asked !== latest) return; // asked again meanwhile: that goes on
      isReady = info.workers.some(({ state }) => READY.includes(state));
      describe(info);
      show(place, isReady ? "ready" : "starting", isReady ? readyWords(info) : "The server is starting…");
    } catch (thrown) {
      if (asked !== latest) return;
      show(place, "away", awayWords(StylizeError.from(thrown)));
    }
    timer = window.setTimeout(() => void look(), isReady ? READY_INTERVAL_MS : UNREADY_INTERVAL_MS);
  };
  const lookNow = () => void look();
  window.addEventListener("online", lookNow);
  window.addEventListener("offline", lookNow);
  void look();
  return lookNow;
}

function awayWords({ code }: StylizeError): string {
  if (code === Code.Unauthenticated) return "The server asks for a token";
  return navigator.onLine ? "The server cannot be reached" : "You are offline";
}

function show(place: HTMLElement, state: string, words: string): void {
  place.className = `server is-${state}`;
  if (place.textContent !== words) place.textContent = words;
}

function readyWords({ queue, encoderSets, workers, caller }: ServerInfo): string {
  const where = `${encoderSets[0]?.name ?? "?"} on ${workers[0]?.device ?? "?"}`;
  const waiting = queue?.waitingCount ?? 0;
  return [where, waiting ? `${waiting} waiting` : "", caller?.tenant ?? ""].filter(Boolean).join(" · ");
}
