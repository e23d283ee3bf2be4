import exampleUrl from "../../../examples/cat.jpg?url";
import { connect } from "@clipstyler/client/web";
import { App } from "./app";
import { Store } from "./store";

const app = new App(connect(), await Store.open());
app.start(exampleUrl);
