/** Shows the capabilities of the machine: urgent notes on the page, everything in a dialog. */

import { h } from '../parts/dom.js'
import { formatBytes } from '../../util/format-bytes.js'
import { openDialog } from './dialog.js'
import { choiceWords, memoryRows } from './memory-choices.js'
import { inspectMachine, machineNotes, type Machine, type MachineNote } from './machine.js'

const adapters: Readonly<Record<Machine['gpu'], string>> = {
  none: 'not available',
  'page-only': 'not available in workers',
  software: 'software adapter only',
  gpu: 'yes',
}

/** Whether there is a GPU, and which. Some browsers hide its name, so that sites cannot recognize the user by it. */
function describeGpu(gpu: Machine['gpu'], name: string): string {
  if (gpu === 'none' || gpu === 'page-only') return adapters[gpu]
  return `${adapters[gpu]}${name === '' ? ' (not named by this browser)' : `: ${name}`}`
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** Puts the urgent notes into `place`. */
export async function showUrgentNotes(place: HTMLElement): Promise<Machine> {
  const machine = await inspectMachine()
  const urgent = machineNotes(machine).filter((note) => note.urgent)
  place.replaceChildren(...urgent.map(noteElement))
  return machine
}

/**
 * Shows only the first sentence of a note until the user opens it, so that the notes take little height and do not move the rest of the
 * page.
 */
function noteElement({ code, text }: MachineNote): HTMLElement {
  const end = text.indexOf('. ') + 1
  if (end === 0) return h('p', { class: 'note', 'data-code': code }, text)
  const [first, rest] = [text.slice(0, end), text.slice(end + 1)]
  return h('details', { class: 'note', 'data-code': code }, h('summary', {}, `${first} `), h('p', {}, rest))
}

/** Opens the dialog. */
export async function openMachine(): Promise<void> {
  const machine = await inspectMachine()
  const { gpu, gpuName, shaderF16, maxBufferSize, memoryGb, cores, threads, storage, quota, usage } = machine
  const facts: readonly (readonly [string, string])[] = [
    ['WebGPU', describeGpu(gpu, gpuName)],
    ...(gpu === 'none' || gpu === 'page-only'
      ? []
      : ([
          ['Arithmetic', shaderF16 ? '16-bit, with 32-bit sums' : '32-bit'],
          ['Largest buffer', formatBytes(maxBufferSize)],
        ] as const)),
    ['CPU', `${counted(cores, 'core')}; models run there on ${counted(threads, 'thread')}`],
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
      ...memoryTable(),
    ),
  )
}

/** What fits into a GPU's memory: the browser does not report how much there is, but the user may know. */
function memoryTable(): readonly HTMLElement[] {
  const rows = memoryRows.map(({ memoryGb, choices }) => {
    const items = choices.map((choice) => h('li', {}, choiceWords(choice)))
    return h('tr', {}, h('th', { scope: 'row' }, `${memoryGb} GB`), h('td', {}, h('ul', { class: 'plain' }, ...items)))
  })
  const head = h('tr', {}, h('th', { scope: 'col' }, 'Memory'), h('th', { scope: 'col' }, 'What fits, and what it needs'))
  return [
    h('h3', {}, 'What fits into the memory of a GPU'),
    h(
      'p',
      {},
      'Browsers do not report this memory. Aquatint guesses it, and keeps less on the GPU if the guess was too high. To use less memory, choose q8 or q4 under Settings, Weights.',
    ),
    h('table', {}, h('thead', {}, head), h('tbody', {}, ...rows)),
  ]
}
