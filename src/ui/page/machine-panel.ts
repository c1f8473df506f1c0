/** Shows the capabilities of the machine: urgent notes on the page, everything in a dialog. */

import { h } from '../parts/dom.js'
import { formatBytes } from '../../util/format-bytes.js'
import { openDialog } from './dialog.js'
import { inspectMachine, machineNotes, type Machine } from './machine.js'

const adapters: Readonly<Record<Machine['gpu'], string>> = {
  none: 'not available',
  software: 'software adapter only',
  gpu: 'yes',
}

/** Whether there is a GPU, and which. Some browsers do not name it, so that sites cannot recognize the user by it. */
function describeGpu(gpu: Machine['gpu'], name: string): string {
  if (gpu === 'none') return adapters.none
  return `${adapters[gpu]}${name === '' ? ' (this browser does not say which GPU it is)' : `: ${name}`}`
}

/** Puts the urgent notes into `place`. */
export async function showUrgentNotes(place: HTMLElement): Promise<Machine> {
  const machine = await inspectMachine()
  const urgent = machineNotes(machine).filter((note) => note.urgent)
  place.replaceChildren(...urgent.map(({ code, text }) => h('p', { class: 'note', 'data-code': code }, text)))
  return machine
}

/** Opens the dialog. */
export async function openMachine(): Promise<void> {
  const machine = await inspectMachine()
  const { gpu, gpuName, shaderF16, maxBufferSize, memoryGb, cores, storage, quota, usage } = machine
  const facts: readonly (readonly [string, string])[] = [
    ['WebGPU', describeGpu(gpu, gpuName)],
    ...(gpu === 'none'
      ? []
      : ([
          ['16-bit arithmetic', shaderF16 ? 'yes' : 'no'],
          ['Largest buffer', formatBytes(maxBufferSize)],
        ] as const)),
    ['CPU', cores === 1 ? '1 core' : `${cores} cores`],
    ['Memory', memoryGb === undefined ? 'not reported by this browser' : `${memoryGb} GB or more`],
    ['Storage', storage ? 'available' : 'blocked'],
    ...(quota === undefined || usage === undefined
      ? []
      : ([['Storage used', `${formatBytes(usage)} of up to ${formatBytes(quota)}`]] as const)),
  ]
  const notes = machineNotes(machine)
  openDialog(
    'This machine',
    h(
      'div',
      { class: 'picture' },
      h('dl', { class: 'facts' }, ...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
      ...(notes.length === 0
        ? [h('p', { class: 'note' }, 'This machine has everything that Aquatint can use.')]
        : notes.map(({ text }) => h('p', { class: 'note' }, text))),
    ),
  )
}
