/** Prints a memory plan: when and where each component runs, which blocks stay on the device, and the peak of each device. */

import type { LoadStorage } from '../../src/pipelines/loading/load-storage.js'
import type { PlacedPlan } from '../../src/pipelines/loading/plan-networks.js'
import type { ComponentPlan } from '../../src/memory/plan.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { shortNames } from './block-names.js'
import { table } from '../output.js'
import { capabilitiesOf, kindOf, type DeviceName } from '../../src/memory/device-info.js'
import type { NetworkRole } from '../../src/models/types.js'

interface Placed {
  readonly device: DeviceName
  readonly part: ComponentPlan
  readonly time: RunTime
}

/** When a component runs, and how often. */
interface RunTime {
  /** The component's position in the order in which components run. */
  readonly rank: number
  readonly frequency: string
}

const timeOf: Readonly<Record<NetworkRole | 'encoder', RunTime>> = {
  'text-encoder': { rank: 0, frequency: 'each prompt' },
  // The half of the autoencoder that encodes a start image.
  encoder: { rank: 1, frequency: 'once' },
  denoiser: { rank: 2, frequency: 'each step' },
  autoencoder: { rank: 3, frequency: 'each image' },
}

/**
 * The plan for one image: a row for each component, lists of blocks for each component that is streamed, and a line for each device. `roleOf`
 * returns the role of a component's network.
 */
export function planText({ devices }: Pick<PlacedPlan, 'devices'>, roleOf: (component: string) => NetworkRole): string[] {
  const plans = Object.entries(devices) as [DeviceName, NonNullable<PlacedPlan['devices'][DeviceName]>][]
  const placed = plans
    .flatMap(([device, { components }]) =>
      components.map((part): Placed => ({ device, part, time: timeOf[part.part ?? roleOf(part.name)] })),
    )
    .toSorted((a, b) => a.time.rank - b.time.rank || titleOf(a.part).localeCompare(titleOf(b.part)))
  const head = ['when', 'component', 'device', 'offload', 'weights', 'stay', 'at most', 'per run', 'activations', 'blocks']
  const rows = placed.map(({ device, part, time }, index) => [
    `${index + 1}, ${part.tile === undefined ? time.frequency : `each tile of ${part.tile}`}`,
    titleOf(part),
    device,
    ...cellsOf(part, device),
  ])
  return [
    table(bytesToTheRight([head, ...rows])),
    ...placed.flatMap(({ part }) => streamedLines(part)),
    ...plans.map(([device, { residence, peakBytes, maxMemory, heldBytes }]) => {
      const held = heldBytes === 0 ? '' : `, with ${formatBytes(heldBytes)} for embeddings and latents`
      return `${device}: offload ${residence}, at most ${formatBytes(peakBytes)} of ${formatBytes(maxMemory)}${held}`
    }),
  ]
}

/** A sentence about the bytes that a load from the Hub or the web downloads and keeps; empty for a folder. */
export function storageLines({ downloadBytes, keptBytes, diskBytes }: LoadStorage): string[] {
  if (downloadBytes === 0) return []
  const [download, kept, disk] = [formatBytes(downloadBytes), formatBytes(keptBytes), formatBytes(diskBytes)]
  return [
    `A page downloads ${download} of weights and keeps ${kept} on the disk${disk === kept ? '' : `, ${disk} while it loads`}.`,
  ]
}

const byteColumns: ReadonlySet<number> = new Set([4, 5, 6, 7, 8])

function bytesToTheRight(rows: readonly (readonly string[])[]): string[][] {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  return rows.map((row) => row.map((cell, column) => (byteColumns.has(column) ? cell.padStart(width(column)) : cell)))
}

function titleOf({ name, part }: ComponentPlan): string {
  return part === undefined ? name : `${name} (${part})`
}

function cellsOf(part: ComponentPlan, device: DeviceName): string[] {
  const { weightBytes, keptBytes, peakWeightBytes, streamedBytes, activationBytes, blocks, residence } = part
  const kept = blocks.filter(({ place }) => place === 'kept').length
  return [
    residence,
    ...[weightBytes, keptBytes, peakWeightBytes, streamedBytes].map(formatBytes),
    capabilitiesOf[kindOf[device]].countsActivations ? formatBytes(activationBytes) : '',
    kept === blocks.length ? `all ${kept} stay` : `${kept} of ${blocks.length} stay`,
  ]
}

function streamedLines(part: ComponentPlan): string[] {
  const { blocks } = part
  const inPlace = (place: (typeof blocks)[number]['place']) => {
    const names = new Set(blocks.filter((block) => block.place === place).map(({ name }) => name))
    return shortNames(
      blocks.map(({ name }) => name),
      names,
    ).join(', ')
  }
  if (blocks.every(({ place }) => place === 'kept')) return []
  return [
    ...wrapped(`${titleOf(part)} keeps ${inPlace('kept') || 'no block'}`),
    ...(blocks.some(({ place }) => place === 'once')
      ? wrapped(`  and uploads in the first run of a picture ${inPlace('once')}`)
      : []),
    ...(blocks.some(({ place }) => place === 'streamed') ? wrapped(`  and uploads in each run ${inPlace('streamed')}`) : []),
  ]
}

/** Breaks text into lines of at most 120 characters, unless a single name is longer. */
function wrapped(text: string): string[] {
  const lines = ['']
  for (const word of text.split(/(?<=, )/)) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && line.length + word.trimEnd().length > 120) lines.push(`    ${word}`)
    else lines.splice(-1, 1, line + word)
  }
  return lines.map((line) => line.trimEnd())
}
