import type { Client } from "../../src/core.js";
import { connect } from "../../src/web.js";
import type { Control } from "./player.js";

/** Connect to the gateway in front of a server, by gRPC-Web. */
export async function connectWeb(control: Control, server: string): Promise<Client> {
  const { url } = (await (await control.get(`gateways/${server}`)).json()) as { url: string };
  return connect(url);
}
