/**
 * Compares Aquatint's float16 results in a browser with PyTorch's, on machines without a GPU. The default browser is Firefox, which has
 * float16 on Mesa's lavapipe; Chromium's Dawn needs a newer Mesa for it.
 */

import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Plugin } from 'vite'
import { DiskRepository } from '../../cli/disk-repository.js'
import { benchBrowser, withBenchPage } from '../browser-page.js'
import { accuracyOptions, compareWithPyTorch } from '../gpu/accuracy.js'
import type { PageRequest } from './page.js'
import { judgedPath } from './served-folder.js'

/** Compares the networks that the options choose. Returns 1 if a network was not measured, or its error is outside the bound. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...accuracyOptions,
      accuracy: { type: 'boolean' },
      minutes: { type: 'string', default: '600' },
      browser: { type: 'string', default: 'firefox' },
    },
  })
  let folder = ''
  const served: Plugin = {
    name: 'judged',
    configureServer: ({ middlewares }) => {
      middlewares.use(judgedPath, ({ url = '' }, response) => {
        const { pathname, searchParams } = new URL(url, 'http://localhost')
        const [begin, end] = ['begin', 'end'].map((key) => Number(searchParams.get(key)))
        createReadStream(join(folder, pathname), { start: begin, end: (end ?? 0) - 1 }).pipe(response)
      })
    },
  }
  const browser = benchBrowser(values.browser)
  // Each network gets a browser of its own, so that nothing of the previous network is in memory.
  const isComplete = await compareWithPyTorch(values, async (path, form) => {
    folder = path
    const request = { files: await new DiskRepository(path).files(), form: { kind: 'webgpu', ...form } } as const
    let error: number | null = null
    await withBenchPage(
      { path: 'bench/accuracy/index.html', ready: 'judgeNetwork', browser, plugins: [served] },
      async (page) => {
        error = await page.evaluate<number | null, PageRequest>(
          (asked) => Reflect.get(globalThis, 'judgeNetwork')(asked),
          request,
        )
      },
    )
    // JSON has no NaN, so the page's NaN arrives as null.
    return error ?? Number.NaN
  })
  return isComplete ? 0 : 1
}
