// The outside services of a line, played by one server that can be told to fail.

import { once } from "node:events";
import { createServer } from "node:http";
import { SERVICES } from "./line.js";

export class Vendor {
  /** The calls that were answered, as `SERVICE STATUS`. */
  calls = [];
  #broken = new Map();
  #hold = null;
  #arrived = 0;

  static async start() {
    const vendor = new Vendor();
    vendor.server = createServer((request, response) => vendor.#answer(request, response));
    vendor.server.listen(0, "127.0.0.1");
    await once(vendor.server, "listening");
    vendor.url = `http://127.0.0.1:${vendor.server.address().port}`;
    return vendor;
  }

  /** Every call to the service fails with these words, once it has been answered well so often. */
  breaks(service, { after = 0, saying = "upstream is overloaded" } = {}) {
    this.#broken.set(service, { after, saying });
  }

  /** The service answers again. */
  isRepaired(service) {
    this.#broken.delete(service);
  }

  /** No call beyond so many is answered, until the function that is returned is called. */
  holds({ after }) {
    const hold = { after };
    hold.isOver = new Promise((resolve) => (hold.end = resolve));
    this.#hold = hold;
    return () => {
      this.#hold = null;
      hold.end();
    };
  }

  /** How many calls were answered so, such as `count("openai 503")`. */
  count(call) {
    return this.calls.filter((one) => one === call).length;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  async #answer(request, response) {
    request.resume();
    await once(request, "end");
    this.#arrived += 1;
    if (this.#arrived > this.#hold?.after) await this.#hold.isOver;
    const service = SERVICES.find((name) => request.url.startsWith(`/${name}/`)) ?? "unknown";
    const broken = this.#broken.get(service);
    const isBroken = broken && this.count(`${service} 200`) >= broken.after;
    const status = isBroken ? 503 : 200;
    this.calls.push(`${service} ${status}`);
    response.writeHead(status, { "content-type": isBroken ? "text/plain" : "application/json" });
    response.end(isBroken ? broken.saying : '{"answer": "done"}');
  }
}
