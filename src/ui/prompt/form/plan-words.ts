/** Describes a plan in a sentence or two, for people who have not loaded the model yet. Pure. */

import type { DeviceName, PipelinePlan, Residence } from '../../../index.js'
import { processorTime } from '../../parts/processor-time.js'
import { formatBytes } from '../../../util/format-bytes.js'

const residences: Readonly<Record<Residence, string>> = {
  resident: 'all loaded at once',
  model: 'loaded one component at a time',
  block: 'loaded block by block',
}

const isGpu: Readonly<Record<DeviceName, boolean>> = { webgpu: true, 'webgpu:1': true, wasm: false }

/** The size of the download, and the memory that a picture needs. */
export function planWords({
  label,
  downloadBytes,
  keptBytes,
  diskBytes,
  devices,
  width,
  height,
  components,
}: PipelinePlan): string {
  const gpus = Object.entries(devices).filter(([name]) => isGpu[name as DeviceName])
  const download =
    downloadBytes === 0
      ? `${label}, already downloaded.`
      : `${label}. Downloads ${formatBytes(downloadBytes)} once${storageWords(downloadBytes, keptBytes, diskBytes)}.`
  const picture = `A ${width} × ${height} picture`
  if (gpus.length === 0) {
    const time = processorTime(components, { width, height })
    return `${download} ${picture} is computed on the CPU${time === undefined ? '' : `, which takes ${time}`}.`
  }
  const takes = gpus.map(([, plan]) => `up to ${formatBytes(plan.peakBytes)} of GPU memory, ${residences[plan.residence]}`)
  return `${download} ${picture} needs ${takes.join('; ')}.`
}

/** The bytes that stay on the disk, and the bytes that the load needs there, if these numbers differ from the downloaded bytes. */
function storageWords(downloadBytes: number, keptBytes: number, diskBytes: number): string {
  const [download, kept, disk] = [downloadBytes, keptBytes, diskBytes].map((bytes) => formatBytes(bytes))
  if (kept === download && disk === kept) return ''
  return `, keeps ${kept} on the disk${disk === kept ? '' : ` and needs ${disk} while it loads`}`
}
