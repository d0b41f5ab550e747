// node parse.mjs FILE…: parse every Mermaid diagram of these pages; prints a line for each that does not parse.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Flowcharts and state diagrams pass their labels through DOMPurify, which needs a document.
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

let diagrams = 0;
for (const file of process.argv.slice(2)) {
  for (const [, text] of readFileSync(file, "utf8").matchAll(/^```mermaid\n([\s\S]*?)^```$/gm)) {
    diagrams += 1;
    try {
      await mermaid.parse(text);
    } catch (error) {
      process.exitCode = 1;
      console.log(`${file}: ${error.message}\n${text}`);
    }
  }
}
console.log(`${diagrams} diagrams`);
