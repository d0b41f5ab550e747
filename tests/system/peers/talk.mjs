// A conversation over WebSocket, the same in a browser and with Node's "ws": it does what a client does, and returns what it saw.

class Client {
  constructor(WebSocket, url) {
    this.socket = new WebSocket(url);
    this.frames = [];
    this.waiting = [];
    this.ended = new Promise((resolve) => {
      this.socket.onclose = (event) => {
        resolve({ code: event.code, reason: event.reason, clean: event.wasClean });
        this.waiting.splice(0).forEach((wake) => wake());
      };
    });
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = () => reject(new Error("no connection"));
    });
    this.socket.onmessage = (event) => {
      this.frames.push(JSON.parse(event.data));
      this.waiting.splice(0).forEach((wake) => wake());
    };
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  async next(msgid) {
    for (;;) {
      const place = this.frames.findIndex((frame) => frame.msgid === msgid);
      if (place >= 0) return this.frames.splice(place, 1)[0];
      if (this.socket.readyState > 1) throw new Error(`closed before ${msgid}: ${JSON.stringify(this.frames)}`);
      await new Promise((resolve) => this.waiting.push(resolve));
    }
  }

  async ask(reply, message) {
    await this.opened;
    this.send(message);
    return this.next(reply);
  }
}

export async function talk(WebSocket, { url, name, peer, text, silence }) {
  const client = new Client(WebSocket, url);
  const { id } = await client.ask(5, { msgid: 4, name, password: "a password" });
  const login = await client.ask(2, { msgid: 1, id, password: "a password", device: "one" });
  const ack = await client.ask(11, { msgid: 6, toid: peer, msg: text, cid: "a" });
  const answer = await client.next(6);
  await new Promise((resolve) => setTimeout(resolve, silence)); // the server's pings are answered below the script
  const echo = await client.ask(12, { msgid: 12 });

  const binary = new Client(WebSocket, url);
  await binary.opened;
  binary.socket.send(new Uint8Array([1, 2, 3]));
  const refused = await binary.ended;

  const other = new Client(WebSocket, url);
  await other.ask(2, { msgid: 1, id, password: "a password", device: "one", force: true });
  const bye = await client.next(24);
  const replaced = await client.ended;

  const before = Date.now();
  other.socket.close(1000, "done");
  const closed = await other.ended;
  return {
    heartbeat: login.heartbeat, ack, answer: answer.msg, echo, extensions: other.socket.extensions,
    refused, error: binary.frames, bye, replaced, closed, seconds: (Date.now() - before) / 1000,
  };
}
