/**
 * End-to-end specs on the built site (`npm run build` first; `npm test` does). No retries: a flaky test is a defect. No spec depends on how
 * fast the machine is. `alone` are those that measure the memory of a process, and those that count concurrent requests of a download:
 * they run one at a time, the others two at a time.
 */
import { defineConfig } from '@playwright/test'
import type { BrowserOptions } from './e2e/browsers/harness.js'
import { plainPort, plainSite, site, sitePort } from './e2e/ui/site.js'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'

const alone = ['hub-memory', 'hub-untrusted', 'hub-http2', 'hub-download'].map((name) => `**/${name}.spec.ts`)

const vite = 'node_modules/vite/bin/vite.js'
const { args, ...launch } = chromiumLaunchOptions()
/**
 * Makes V8 recompile a WebAssembly function with its optimizing compiler only after much more work than usual: each spec loads the runtime
 * again, so the recompilation would be repeated for each spec.
 */
const compileOnce = '--js-flags=--wasm-tiering-budget=200000000'

/** A project of the specs that run in every browser; the project `site` runs them in Chromium. Each browser starts once. */
const browser = (engineName: 'firefox' | 'webkit') => ({
  name: engineName,
  testMatch: '**/browsers/*.spec.ts',
  workers: 1,
  use: { engineName },
  dependencies: ['pack'],
  outputDir: `test-results/e2e-${engineName}`,
})

/** Serves the built site. */
const served = (url: string, port: number, ...more: readonly string[]) => ({
  command: ['node', vite, 'preview', '--port', String(port), '--strictPort', '--host', '127.0.0.1', ...more].join(' '),
  url,
  reuseExistingServer: false,
})

export default defineConfig<object, BrowserOptions>({
  testDir: 'e2e',
  forbidOnly: true,
  retries: 0,
  timeout: 1_200_000,
  // A busy machine may take long: these limits only end what hangs.
  expect: { timeout: 120_000 },
  // `npm test` counts the tests in the JSON report.
  reporter: process.env['PLAYWRIGHT_JSON_OUTPUT_FILE'] === undefined ? [['list']] : [['list'], ['json']],
  use: {
    baseURL: plainSite,
    launchOptions: { ...launch, args: [...args, compileOnce] },
    // A browser without a GPU spends more time on moving bars, and on a trace's pictures of them, than on the pictures of the model.
    contextOptions: { reducedMotion: 'reduce' },
    // The specs of the service worker allow it.
    serviceWorkers: 'block',
    trace: { mode: 'retain-on-failure', screenshots: false, snapshots: false },
  },
  projects: [
    { name: 'pack', testMatch: '**/pack.setup.ts', outputDir: 'test-results/e2e-pack' },
    {
      name: 'site',
      testMatch: '**/*.spec.ts',
      testIgnore: alone,
      dependencies: ['pack'],
      outputDir: 'test-results/e2e-site',
    },
    { name: 'alone', testMatch: alone, workers: 1, outputDir: 'test-results/e2e-alone' },
    browser('firefox'),
    browser('webkit'),
  ],
  workers: 2,
  webServer: [served(site, sitePort), served(plainSite, plainPort, '--mode', 'plain-host')],
})
