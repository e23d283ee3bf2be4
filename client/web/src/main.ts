import exampleUrl from "../../../examples/cat.jpg?url";
import { connect } from "@clipstyler/client/web";
import { Access } from "./access";
import { App } from "./app";
import { Store } from "./store";

const access = new Access();
const client = connect(location.origin, { interceptors: [access.interceptor] });
new App(client, new Store(), access).start(exampleUrl);
