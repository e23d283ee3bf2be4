import { create } from "@bufbuild/protobuf";
import { ServerInfoSchema, ServerInfo_Worker_State, type Client, type ServerInfo } from "@clipstyler/client/web";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { observeServer } from "../src/server";

const READY = create(ServerInfoSchema, { workers: [{ state: ServerInfo_Worker_State.IDLE, device: "cpu" }] });
const place = { className: "", textContent: "" };

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", Object.assign(new EventTarget(), { setTimeout: setTimeout.bind(globalThis) }));
  vi.stubGlobal("document", { getElementById: () => place });
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** A client whose answers are given by hand. */
function asked() {
  const answers: ((info: ServerInfo) => void)[] = [];
  const serverInfo = vi.fn(() => new Promise<ServerInfo>((resolve) => answers.push(resolve)));
  return { client: { serverInfo } as unknown as Client, serverInfo, answers };
}

test("a network that comes and goes while an answer is awaited begins no further chain of questions", async () => {
  const { client, serverInfo, answers } = asked();
  observeServer(client, () => {});
  for (const event of ["offline", "online", "offline", "online"]) window.dispatchEvent(new Event(event));
  expect(serverInfo).toHaveBeenCalledTimes(5);
  for (const answer of answers) answer(READY);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(serverInfo).toHaveBeenCalledTimes(6);
});

test("an old answer does not replace a newer one", async () => {
  const { client, answers } = asked();
  const described: ServerInfo[] = [];
  const lookNow = observeServer(client, (info) => described.push(info));
  lookNow();
  answers[1]!(READY);
  await vi.advanceTimersByTimeAsync(1);
  answers[0]!(create(ServerInfoSchema));
  await vi.advanceTimersByTimeAsync(1);
  expect(described).toEqual([READY]);
  expect(place.className).toBe("server is-ready");
});
