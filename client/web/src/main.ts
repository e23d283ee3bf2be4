import exampleUrl from "../../../examples/cat.jpg?url";
import { connect } from "@clipstyler/client/web";
import { App } from "./app";
import { Store } from "./store";

new App(connect(), new Store()).start(exampleUrl);
