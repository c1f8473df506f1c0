/** End-to-end specs on the built site (`npm run build` first; `npm test` does). No retries: a flaky test is a defect. */
import { defineConfig } from '@playwright/test'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'

const reports = process.env['AQUATINT_REPORTS'] ?? 'test-results/reports'

export default defineConfig({
  testDir: 'e2e',
  testMatch: '**/*.spec.ts',
  outputDir: 'test-results/e2e',
  forbidOnly: true,
  retries: 0,
  workers: 1,
  timeout: 180_000,
  reporter: [['list'], ['json', { outputFile: `${reports}/e2e.json` }]],
  use: { baseURL: 'http://127.0.0.1:4173', launchOptions: chromiumLaunchOptions(), trace: 'retain-on-failure' },
  webServer: {
    command: 'node node_modules/vite/bin/vite.js preview --port 4173 --strictPort --host 127.0.0.1',
    url: 'http://127.0.0.1:4173',
    reuseExistingServer: false,
  },
})
