// Drives the status page in a headless Chromium, on a cluster of its own: `make browser-test` starts both. With PICTURES set
// to a directory, pictures of the pages are written there.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { BLOCKS, CLAIMS, apply, claim, kubectl, untilPhase, world } from "./objects.js";

const origin = process.env.PRIVATEKUBE_STATUS_PAGE?.replace(/\/$/, "");
assert.ok(origin, "start this test with: make browser-test");
const pictures = process.env.PICTURES;
const program = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
assert.ok(program, "chromium is missing: apt-get install chromium, or name its path in CHROMIUM");

const PAGES = ["/", "/datasets/data/taxi", "/datasets/data/taxi/queue", "/datasets/data/taxi/fairness", "/claims",
  "/decisions", "/what-if"];
const DESK = { width: 1100, height: 720 };
const PHONE = { width: 390, height: 780 };

// What the browser complained about, and what it asked of others.
const complaints = [];

async function open(browser, options) {
  const context = await browser.newContext({ viewport: DESK, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(`${origin}/`)) complaints.push(`a request leaves the page: ${request.url()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.url()}: status ${response.status()}`);
  });
  return page;
}

// Checks what axe finds wrong, and that nothing is wider than the screen.
async function check(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
  }));
  const violations = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(violations, [], page.url());
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= page.viewportSize().width, `${page.url()} is ${width} wide`);
}

async function picture(page, name) {
  if (pictures) await page.screenshot({ path: path.join(pictures, `status-${name}.png`) });
}

const uid = (namespace, name) => kubectl(["get", "pbc", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}"]);

async function part(name, run) {
  const began = Date.now();
  await run();
  console.log(`ok: ${name} (${Date.now() - began} ms)`);
}

apply(world());
// One after the other, so that every run decides the same.
for (const object of CLAIMS) {
  apply([object]);
  const { name, namespace } = object.metadata;
  const phase = object.spec.consume ? "Consumed" : { "train-large": "Waiting", attribution: "Waiting", everything: "Denied" }[name];
  untilPhase(namespace, name, phase ?? "Granted");
}

const browser = await chromium.launch({ executablePath: program, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
try {
  const page = await open(browser, { colorScheme: "light" });

  await part("datasets, and a dataset by keyboard", async () => {
    await page.goto(`${origin}/`);
    const card = page.locator(".card");
    assert.match(await card.innerText(), /data\/taxi/);
    assert.match(await card.locator(".bar").getAttribute("aria-label"), /^consumed [\d.]+%, allocated [\d.]+%/);
    await check(page);
    // The first Tab reaches the link that skips the navigation.
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/datasets/data/taxi");
    await page.getByRole("heading", { name: "data/taxi" }).waitFor();
  });

  await part("blocks in pages, and their numbers", async () => {
    const rows = page.locator("#blocks tbody tr");
    assert.equal(await rows.count(), 50);
    const amount = page.locator("#blocks data[title]").first();
    const [shown, all] = [await amount.innerText(), await amount.getAttribute("title")];
    assert.ok(shown.replace(/\D/g, "").replace(/^0+/, "").length <= 4, shown);
    assert.ok(all.length > shown.length, all);
    await page.setViewportSize({ width: 1000, height: 1120 });
    await picture(page, "dataset");
    await page.setViewportSize(DESK);
    await page.getByRole("link", { name: "Next" }).press("Enter");
    await page.waitForURL("**page=2");
    assert.equal(await rows.count(), BLOCKS - 50);
    await page.getByLabel("Order").selectOption("left");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL("**sort=left**");
    assert.match(await rows.first().innerText(), /taxi-2026-/);
    await rows.first().getByRole("link").click();
    await page.getByText("kubectl get pb taxi-").waitFor();
    await check(page);
    await page.getByRole("link", { name: "Show all digits" }).click();
    await page.waitForURL("**digits=all");
    assert.equal(await page.locator("data[title]").count(), 0);
  });

  await part("the queue says why claims wait, in its order", async () => {
    await page.goto(`${origin}/datasets/data/taxi/queue`);
    const queue = page.locator(".queue > li");
    assert.equal(await queue.count(), 2);
    assert.match(await queue.first().innerText(), /train-large[\s\S]*block taxi-\S+ has .* asked: .* is missing/);
    assert.match(await queue.last().innerText(), /attribution/);
  });

  await part("a claim has its history from the ledger", async () => {
    await page.goto(`${origin}/claims?phase=Consumed&namespace=research`);
    await page.getByRole("link", { name: "research/embeddings" }).click();
    const history = page.locator("#history");
    await history.getByText("it arrived, with 25 blocks").waitFor();
    await history.getByText("granted on all its blocks").waitFor();
    await history.getByText("consumed; nothing of it is left allocated").waitFor();
    await check(page);
  });

  await part("decisions appear while the page is open", async () => {
    await page.goto(`${origin}/decisions`);
    await page.locator("#connection[data-state=on]").waitFor();
    await page.evaluate(() => { window.isSamePage = true; });
    apply([claim("live", "ads", "0.1", 5)]);
    await page.locator(".decisions > li").filter({ hasText: "ads/live" }).waitFor();
    assert.equal(await page.evaluate(() => window.isSamePage), true);
    await page.locator("#connection").getByText("live").waitFor();
  });

  await part("what-if answers now, later and never", async () => {
    await page.goto(`${origin}/what-if?dataset=data/taxi`);
    const answer = page.locator("#answer");
    const ask = async (epsilon) => {
      await page.getByLabel("Epsilon").fill(epsilon);
      await page.getByLabel("Epsilon").press("Enter");
      await page.waitForURL(`**epsilon=${epsilon}&**`);
    };
    await ask("0.1");
    await answer.getByText("It would be granted now").waitFor();
    assert.equal(await answer.locator("tbody tr").count(), 50);
    await ask("90");
    await answer.getByText("It would never be granted").waitFor();
    await page.getByLabel("At most").fill("3");
    await page.getByLabel("Delta").fill("1e-9");
    await ask("6.8");
    await answer.getByText("It would wait, and may be granted later").waitFor();
    await answer.getByText("is missing").waitFor();
    await check(page);
    await page.setViewportSize({ width: 1000, height: 860 });
    await picture(page, "what-if");
    await page.setViewportSize(DESK);
    await page.getByLabel("Epsilon").fill("");
    await page.getByLabel("Mechanism").fill("gauss(sigma=1)");
    await page.getByRole("button", { name: "Try it" }).click();
    await page.getByRole("alert").filter({ hasText: "mechanism" }).waitFor();
  });

  await part("fairness has a line for each namespace", async () => {
    await page.goto(`${origin}/datasets/data/taxi/fairness`);
    // Shares are sampled from time to time, and nothing is decided meanwhile that would renew the page.
    const end = Date.now() + 90_000;
    while ((await page.locator("polyline").count()) !== 3 && Date.now() < end) {
      await page.waitForTimeout(500);
      await page.reload();
    }
    assert.equal(await page.locator("polyline").count(), 3);
    await check(page);
  });

  for (const [name, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["phone", { colorScheme: "dark", viewport: PHONE, isMobile: true, hasTouch: true }],
  ]) {
    await part(`every page, ${name}`, async () => {
      const other = await open(browser, options);
      for (const address of PAGES) {
        await other.goto(origin + address);
        await check(other);
      }
      if (name === "phone") {
        await other.goto(`${origin}/datasets/data/taxi`);
        await picture(other, name);
      }
      await other.context().close();
    });
  }

  await part("without scripts", async () => {
    const plain = await open(browser, { javaScriptEnabled: false });
    await plain.goto(`${origin}/claims/claim/data/mean-fare/${uid("data", "mean-fare")}`);
    await plain.getByRole("link", { name: "Read its history from the ledger" }).click();
    await plain.getByText("it arrived").waitFor();
    await plain.goto(`${origin}/what-if?dataset=data/taxi&epsilon=0.1`);
    await plain.locator("#answer").getByText("It would be granted now").waitFor();
    await plain.context().close();
  });

  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
