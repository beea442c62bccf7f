// Drives the page in a browser: node drive.cjs KIT CHROMIUM URL OUT [SECRET]; says what it saw as JSON on stdout.
"use strict";
const path = require("path");
const fs = require("fs");
const [kit, chromium, url, out, secret] = process.argv.slice(2);
const playwright = require(path.join(kit, "node_modules", "playwright-core"));
const axe = fs.readFileSync(path.join(kit, "node_modules", "axe-core", "axe.min.js"), "utf8");
const WIDTHS = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 860 } };
const seen = { violations: [], foreign: [], errors: [], overflow: [], restores: {}, live: [], icons: [], signatures: [], audits: [], isolated: [], narrow: [] };

async function look(page, name) {
  await page.screenshot({ path: path.join(out, `${name}.png`), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) seen.overflow.push(`${name}: ${wide} px`);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const one of found.violations) {
    if (one.impact === "serious" || one.impact === "critical" || one.impact === "moderate") {
      seen.violations.push(`${name}: ${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ")}`);
    }
  }
}

async function open(browser, size, scheme, credentials) {
  const context = await browser.newContext({ viewport: WIDTHS[size], colorScheme: scheme, reducedMotion: "reduce", httpCredentials: credentials, bypassCSP: false });
  const page = await context.newPage();
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) seen.foreign.push(request.url()); });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  await page.addInitScript(axe);
  return page;
}

const ready = (page, view) => page.waitForSelector(`main[data-ready=${view}]`);

async function go(page, hash, view) {
  await page.evaluate((to) => { document.getElementById("main").dataset.ready = ""; location.hash = to; }, hash);
  await ready(page, view);
}

const signature = (page) => page.locator("dt", { hasText: "Signature" }).locator("xpath=following-sibling::dd[1]").innerText();

async function tour(browser, size, scheme) {
  const name = (view) => `${view}-${size}-${scheme}`;
  const page = await open(browser, size, scheme, secret ? { username: "any", password: secret } : undefined);
  await page.goto(secret ? `${url}page/sign-in` : url); // which leads back to the page
  await ready(page, "overview");
  await page.waitForSelector(".rows progress");
  await page.waitForSelector(".chart rect");
  await page.waitForSelector("table td a[href^='#/restore/']");
  await look(page, name("overview"));
  await page.getByRole("searchbox").fill("http");
  await page.waitForSelector("h2 a[href='#/package/Contoso.Http']");
  await look(page, name("search"));
  await page.click("h2 a[href='#/package/Contoso.Http']");
  await ready(page, "package");
  await page.waitForSelector(".readme");
  await page.waitForFunction(() => document.querySelector("img.icon").complete);
  seen.icons.push(await page.evaluate(() => document.querySelector("img.icon")?.naturalWidth));
  seen.signatures.push(await signature(page));
  await look(page, name("package"));
  await page.getByRole("searchbox").fill("unbroken");
  await page.waitForSelector("h2 a[href^='#/package/Unbroken.']");
  seen.isolated.push(await page.locator("bdi").innerText());
  await look(page, name("long-search"));
  await page.click("h2 a[href^='#/package/Unbroken.']");
  await ready(page, "package");
  seen.narrow.push(...await page.evaluate(() => [...document.querySelectorAll(".row > *")].filter((one) => one.clientWidth < 40 && one.textContent.length > 8).map((one) => one.textContent)));
  await look(page, name("long-package"));
  await go(page, "#/package/Fabrikam.Tools.Format", "package");
  seen.signatures.push(await signature(page));
  await go(page, "#/restores", "restores");
  await page.waitForSelector("tbody tr");
  await look(page, name("restores"));
  const slow = page.locator("tbody tr", { hasText: "the upstream" }).first();
  await slow.locator("a").first().click();
  await ready(page, "restore");
  seen.restores[name("restore")] = await page.locator("main").innerText();
  await look(page, name("restore"));
  for (const [view, piece] of [["audit", ".rows .mark.bad"], ["trouble", ".todo"], ["setup", "pre"]]) {
    await go(page, `#/${view}`, view);
    await page.waitForSelector(piece);
    if (view === "audit") seen.audits.push(await page.locator("main").innerText());
    await look(page, name(view));
  }
  await page.context().close();
}

async function keyboard(browser) {
  const page = await open(browser, "desktop", "light");
  await page.goto(url);
  await ready(page, "overview");
  await page.keyboard.press("Tab");
  seen.first = await page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  seen.second = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.type("json");
  await page.waitForSelector("h2 a[href='#/package/Contoso.Json']");
  const link = page.locator("h2 a[href='#/package/Contoso.Json']");
  await link.focus();
  await page.keyboard.press("Enter");
  await ready(page, "package");
  seen.focus = await page.evaluate(() => document.activeElement.tagName);
  const button = page.locator(".copy .button").first();
  await button.focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("toast").textContent === "Copied");
  seen.who = await page.locator("section", { hasText: "Who uses it" }).last().innerText();
  await page.context().close();
}

async function live(browser) {
  const page = await open(browser, "desktop", "light");
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("pulse-text").textContent === "All is well");
  console.log(JSON.stringify({ wants: "the upstream lost" }));
  await page.waitForFunction(() => document.getElementById("pulse-text").textContent.includes("lost"), null, { timeout: 60000 });
  seen.live.push(await page.locator("#pulse-text").innerText());
  await page.waitForSelector(".mark.bad");
  await look(page, "lost-desktop-light");
  console.log(JSON.stringify({ wants: "the upstream back" }));
  await page.waitForFunction(() => document.getElementById("pulse-text").textContent === "All is well", null, { timeout: 60000 });
  seen.live.push(await page.locator("#pulse-text").innerText());
  await page.context().close();
}

async function main() {
  const browser = await playwright.chromium.launch({ executablePath: chromium, args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
  try {
    for (const size of Object.keys(WIDTHS)) for (const scheme of ["light", "dark"]) await tour(browser, size, scheme);
    await keyboard(browser);
    await live(browser);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

main().catch((error) => { console.error(String(error && error.stack || error)); process.exit(1); });
