/**
 * End-to-end specs on the built site (`npm run build` first; `npm test` does). No retries: a flaky test is a defect. No spec depends on how
 * fast the machine is. `alone` are those that measure the memory of a process, and those that count the requests which a download has under
 * way: they run one at a time, the others two at a time.
 */
import { defineConfig } from '@playwright/test'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'

const alone = ['hub-memory', 'hub-untrusted', 'hub-http2', 'hub-download'].map((name) => `**/${name}.spec.ts`)

export default defineConfig({
  testDir: 'e2e',
  forbidOnly: true,
  retries: 0,
  timeout: 600_000,
  // What is awaited may take its time on a busy machine: these limits only end what hangs.
  expect: { timeout: 120_000 },
  // Where `npm test` counts.
  reporter: process.env['PLAYWRIGHT_JSON_OUTPUT_FILE'] === undefined ? [['list']] : [['list'], ['json']],
  use: { baseURL: 'http://127.0.0.1:4173', launchOptions: chromiumLaunchOptions(), trace: 'retain-on-failure' },
  projects: [
    { name: 'pack', testMatch: '**/pack.setup.ts', outputDir: 'test-results/e2e-pack' },
    { name: 'site', testMatch: '**/*.spec.ts', testIgnore: alone, dependencies: ['pack'], outputDir: 'test-results/e2e-site' },
    { name: 'alone', testMatch: alone, workers: 1, outputDir: 'test-results/e2e-alone' },
  ],
  workers: 2,
  webServer: {
    command: 'node node_modules/vite/bin/vite.js preview --port 4173 --strictPort --host 127.0.0.1',
    url: 'http://127.0.0.1:4173',
    reuseExistingServer: false,
  },
})
