/**
 * The projects. In Node: `node` for pure code, `slow` for tests that take seconds (processes, servers, builds, fuzzing, whole networks), and
 * `pipelines` for whole pipelines. In a browser: `browser` for tests of IndexedDB, Worker and WebGPU, `isolated` for tests
 * that need a page or a GPU device for themselves, `chromium` for those that need Chromium, and `smoke` for pictures in `npm run check`.
 * `browser`, `smoke` and `isolated` run in Firefox, whose software GPU is the faster one, or in Chromium where Firefox is missing.
 */
import { playwright } from '@vitest/browser-playwright'
import { defineConfig, type TestProjectConfiguration } from 'vitest/config'
import { chromiumLaunchOptions } from './scripts/chromium.mjs'
import { systemFirefox } from './scripts/firefox.mjs'
import { firefox } from './scripts/firefox-provider.js'

/** Whole pipelines in Node: minutes of matrix products. */
const pipelines = ['{src,cli,e2e}/**/*.parity.test.ts']
/** Starts processes, builds, talks to servers on this machine, tries thousands of inputs, or runs whole networks: not in the inner loop. */
const slow = [
  'bench/**/*.test.ts',
  'cli/{packed,*/*}.test.ts',
  'e2e/{dev-server,hub-server/*,docs/{commands,source-snippets}}.test.ts',
  'scripts/import-table.test.ts',
  'src/**/fuzz.test.ts',
  'src/checkpoint/size-limits.test.ts',
  'src/tokenizers/t5-forms.test.ts',
  'src/models/{fixtures,float16,quantized}.test.ts',
  'src/pipelines/{generation/failures,lora-behaviour,lora-key-lists,pipeline-behaviour}.test.ts',
  'src/pipelines/planning/place-networks.test.ts',
  'src/pipelines/loading/{odd-files,plan-pipeline,single-file-ranges}.test.ts',
]
const isolated = ['src/**/*.isolated.browser.test.ts']
const inChromium = ['src/**/*.chromium.browser.test.ts']
/** Runs in Firefox for `npm run check`, and in Chromium for `npm test`, whose check `browser` compares pictures in Firefox. */
const smoke = 'src/pipelines/smoke.browser.test.ts'

/** A test that has not ended after this many milliseconds hangs. No test depends on the time that it takes. */
const hang = 900_000

/** The files of a project share a process and its modules, because loading modules and compiling onnxruntime takes as long as many of the tests. */
function node(name: string, include: string[], exclude: string[]): TestProjectConfiguration {
  return { extends: true, test: { name, environment: 'node', include, exclude, isolate: false } }
}

const chromium = () => ({
  provider: playwright({ launchOptions: chromiumLaunchOptions() }),
  instances: [{ browser: 'chromium' as const }],
})
const withSoftwareGpu = () =>
  systemFirefox() === undefined ? chromium() : { provider: firefox(), instances: [{ browser: 'firefox' as const }] }

interface BrowserProject {
  readonly include: string[]
  readonly exclude: string[]
  readonly isolate: boolean
  readonly browser: ReturnType<typeof withSoftwareGpu>
}

function browser(name: string, { include, exclude, isolate, browser: driven }: BrowserProject): TestProjectConfiguration {
  return {
    extends: true,
    test: {
      name,
      include,
      exclude,
      isolate,
      fileParallelism: false,
      browser: { enabled: true, headless: true, screenshotFailures: false, ...driven },
    },
  }
}

export default defineConfig({
  // Checks that run side by side keep their bundled dependencies apart.
  cacheDir: `node_modules/.vite/${process.env['AQUATINT_CHECK'] ?? 'vitest'}`,
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  test: {
    setupFiles: ['scripts/equal-numbers.ts'],
    testTimeout: hang,
    hookTimeout: hang,
    // Vitest's own limit is one second, which a busy machine can need for a single event.
    expect: { poll: { timeout: hang } },
    // Vitest reads this setting only here, not from a project.
    browser: { connectTimeout: hang },
    projects: [
      node('node', ['{src,cli,e2e,scripts}/**/*.test.ts'], ['**/*.browser.test.ts', ...pipelines, ...slow]),
      node('slow', slow, pipelines),
      node('pipelines', pipelines, []),
      browser('browser', {
        include: ['src/**/*.browser.test.ts'],
        exclude: [...isolated, ...inChromium, smoke],
        isolate: false,
        browser: withSoftwareGpu(),
      }),
      browser('smoke', { include: [smoke], exclude: [], isolate: true, browser: withSoftwareGpu() }),
      browser('isolated', { include: isolated, exclude: [], isolate: true, browser: withSoftwareGpu() }),
      browser('chromium', { include: [...inChromium, smoke], exclude: [], isolate: true, browser: chromium() }),
    ],
  },
})
