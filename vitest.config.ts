/**
 * The projects: `node` for what is pure, `pipelines` for whole pipelines in Node, `browser` for what needs a real browser (IndexedDB,
 * Worker, WebGPU), and `isolated` for browser tests that need a page or a GPU device for themselves.
 */
import { playwright } from '@vitest/browser-playwright'
import { defineConfig, type TestProjectConfiguration } from 'vitest/config'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'

/** Whole pipelines in Node: minutes of matrix products. */
const pipelines = ['{src,cli,e2e}/**/*.parity.test.ts']
const isolated = ['src/**/*.isolated.browser.test.ts']

/** A test that has not ended after this many milliseconds hangs. No test depends on the time that it takes. */
const hangs = { testTimeout: 900_000, hookTimeout: 900_000 }

function node(name: string, include: string[], exclude: string[]): TestProjectConfiguration {
  return { extends: true, test: { name, environment: 'node', include, exclude } }
}

function browser(name: string, include: string[], exclude: string[], isolate: boolean): TestProjectConfiguration {
  return {
    extends: true,
    test: {
      name,
      include,
      exclude,
      isolate,
      fileParallelism: false,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions: chromiumLaunchOptions() }),
        instances: [{ browser: 'chromium' }],
      },
    },
  }
}

export default defineConfig({
  // Checks that run side by side keep their bundled dependencies apart.
  cacheDir: `node_modules/.vite/${process.env['AQUATINT_CHECK'] ?? 'vitest'}`,
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  test: {
    ...hangs,
    projects: [
      node('node', ['{src,cli,e2e,scripts}/**/*.test.ts'], ['**/*.browser.test.ts', ...pipelines]),
      node('pipelines', pipelines, []),
      browser('browser', ['src/**/*.browser.test.ts'], isolated, false),
      browser('isolated', isolated, [], true),
    ],
  },
})
