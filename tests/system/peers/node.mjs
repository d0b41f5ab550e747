// node node.mjs PARAMETERS: talk with npm's "ws", and print what was seen.
import WebSocket from "ws";
import { talk } from "./talk.mjs";

console.log(JSON.stringify(await talk(WebSocket, JSON.parse(process.argv[2]))));
