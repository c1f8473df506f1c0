import { expect, test } from 'vitest'
import { machineNotes, type Machine } from './machine.js'

const good: Machine = {
  gpu: 'gpu',
  gpuName: 'example',
  shaderF16: true,
  maxBufferSize: 2 ** 31,
  memoryGb: 16,
  cores: 8,
  threads: 8,
  isolated: true,
  storage: true,
  quota: 100e9,
  usage: 0,
  rules: { canAsk: true, persisted: false, isWebKit: false, isGecko: false, installed: false },
  thirdPartyFrame: false,
  secureContext: true,
}
const codes = (change: Partial<Machine>) => machineNotes({ ...good, ...change }).map(({ code }) => code)

test('a capable machine gets no notes', () => expect(codes({})).toEqual([]))

test.each<[Partial<Machine>, string[]]>([
  [{ gpu: 'none' }, ['no-webgpu']],
  [{ gpu: 'none', secureContext: false }, ['insecure']],
  [{ gpu: 'page-only' }, ['no-worker-gpu']],
  [{ gpu: 'software', shaderF16: false }, ['software-adapter']],
  [{ shaderF16: false }, ['no-shader-f16']],
  [{ gpu: 'none', threads: 1, isolated: false }, ['no-webgpu', 'one-thread']],
  [{ gpu: 'none', threads: 1, isolated: false, cores: 1 }, ['no-webgpu']],
  [{ gpu: 'none', threads: 1, isolated: false, secureContext: false }, ['insecure']],
  [{ gpu: 'none', threads: 1, isolated: false, thirdPartyFrame: true }, ['no-webgpu', 'third-party-frame']],
  [{ threads: 1, isolated: false }, []],
  // WebKitGTK isolates pages, but has no shared memory, and a reload changes nothing.
  [{ gpu: 'none', threads: 1 }, ['no-webgpu']],
  [{ memoryGb: 4 }, ['little-memory']],
  [{ memoryGb: undefined }, []],
  [{ storage: false, quota: undefined }, ['no-storage']],
  [{ quota: 2e9 }, ['small-quota']],
  [{ maxBufferSize: 2 ** 30 - 4 }, ['small-buffers']],
  [{ maxBufferSize: 2 ** 30 }, []],
  [{ gpu: 'software', maxBufferSize: 2 ** 27 }, ['software-adapter']],
  [{ rules: { ...good.rules, isWebKit: true } }, ['storage-expires']],
  [{ rules: { ...good.rules, isWebKit: true, installed: true } }, []],
  [{ rules: { ...good.rules, isWebKit: true, persisted: true } }, []],
  [{ rules: { ...good.rules, isGecko: true } }, ['storage-limit']],
  [{ rules: { ...good.rules, isGecko: true, persisted: true } }, []],
  [{ rules: { ...good.rules, canAsk: false } }, ['cannot-keep']],
  [{ storage: false, rules: { ...good.rules, isWebKit: true, canAsk: false } }, ['no-storage']],
  [{ thirdPartyFrame: true }, ['third-party-frame']],
])('a machine with %j gets the notes %j', (change, expected) => expect(codes(change)).toEqual(expected))

test('without a GPU the notes say what still works', () => {
  for (const change of [{ gpu: 'none' }, { gpu: 'page-only' }, { gpu: 'software' }, { secureContext: false }] as const) {
    expect(machineNotes({ ...good, ...change })[0]?.text).toContain('The bundled model works here, on the CPU.')
  }
})
