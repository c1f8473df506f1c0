/**
 * The script of the page that hub specs drive: it runs one worker, starts that worker's workers, matches answers to calls by number, and keeps the
 * progress. The worker gets the page's query.
 */

import { HelperWorkers } from '../../src/engine/client/helper-workers.js'

interface FromWorker {
  readonly id?: number
  readonly progress?: { readonly path: string }
}

const waiting = new Map<number, (answer: FromWorker) => void>()
const progress: Record<string, unknown> = {}
let calls = 0

const worker = new Worker(`/worker.js${location.search}`, { type: 'module' })
worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
  if (data.progress !== undefined) {
    progress[data.progress.path] = data.progress
    return
  }
  waiting.get(data.id ?? 0)?.(data)
  waiting.delete(data.id ?? 0)
})
const { port1, port2 } = new MessageChannel()
const helpers = new HelperWorkers(port1)
// If the query names a fault of the browser, the hub's worker starts its workers itself, because the fault may concern them.
if (location.search === '') worker.postMessage({ id: 0, method: 'useWorkers', args: [port2] }, [port2])

// The page takes a folder that the user drops or picks.
const give = (folder: unknown) => Reflect.set(globalThis, 'given', folder)
const input = document.createElement('input')
Object.assign(input, { type: 'file', webkitdirectory: true })
input.addEventListener('change', () => give([...(input.files ?? [])]))
document.documentElement.append(input)
addEventListener('dragover', (event) => event.preventDefault())
addEventListener('drop', (event) => {
  event.preventDefault()
  // The DOM types of TypeScript lack this method.
  const item = event.dataTransfer?.items[0] as { getAsFileSystemHandle?: () => Promise<unknown> } | undefined
  void item?.getAsFileSystemHandle?.().then(give)
})

Object.assign(globalThis, {
  progress,
  terminate() {
    worker.terminate()
    helpers.terminate()
  },
  call: (method: string, args: unknown[]) =>
    new Promise((resolve) => {
      waiting.set(++calls, resolve)
      worker.postMessage({ id: calls, method, args })
    }),
})
