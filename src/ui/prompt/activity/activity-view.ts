/**
 * Draws an activity: the headline, its numbers and a bar with four stages; and separately the memory and the files. Both areas keep their
 * height, so that the page does not jump.
 */

import { h, setText } from '../../parts/dom.js'
import type { Activity } from './activity.js'
import { componentLabel } from '../../../index.js'
import { details, fileState, headline, memoryNumbers, memoryPlace } from './activity-words.js'
import { filled, stages } from './stages.js'

/** The area that shows the current activity. */
export class ActivityView {
  readonly element: HTMLElement
  readonly #headline = h('p', { class: 'headline', part: 'headline' })
  readonly #details = h('p', { class: 'details' })
  readonly #stages = stages.map(({ name }) => {
    const fill = h('span', { class: 'fill' })
    return { fill, item: h('li', {}, h('span', { class: 'track' }, fill), h('span', { class: 'name' }, name)) }
  })
  readonly #bar = h('div', {
    class: 'bar',
    role: 'progressbar',
    'aria-label': 'Progress',
    'aria-valuemin': 0,
    'aria-valuemax': 100,
  })
  readonly #spoken = h('p', { class: 'visually-hidden', role: 'status' })
  readonly #files = h('details', { class: 'files', part: 'files' })
  readonly #fileRows = new Map<string, { row: HTMLElement; state: HTMLElement; fill: HTMLElement }>()
  readonly #fileList = h('ul')
  readonly #fileSummary = h('summary')
  readonly #live = h('span', { class: 'fill' })
  readonly #peak = h('span', { class: 'fill peak' })
  readonly #gauge = h('span', { class: 'track', 'aria-hidden': 'true' }, this.#peak, this.#live)
  readonly #memoryPlace = h('p', { class: 'place' })
  readonly #memoryNumbers = h('p', { class: 'numbers' })
  readonly #memory = h('div', { class: 'memory', part: 'memory' }, this.#gauge, this.#memoryNumbers, this.#memoryPlace)
  /** The memory and the files: beside or below the rest, depending on the width. */
  readonly account = h('section', { class: 'account', 'aria-label': 'Memory and files' }, this.#memory, this.#files)

  constructor() {
    this.#bar.append(h('ol', { class: 'stages', 'aria-hidden': 'true' }, ...this.#stages.map(({ item }) => item)))
    this.#files.append(this.#fileSummary, this.#fileList)
    this.element = h(
      'section',
      { class: 'activity', part: 'activity', 'aria-label': 'Activity' },
      this.#headline,
      this.#details,
      this.#bar,
      this.#spoken,
    )
  }

  /** Draws an activity. While it is idle, `message` and `more` replace the headline and the numbers. */
  update(activity: Activity, message = '', more = ''): void {
    const busy = activity.phase !== 'idle'
    const title = busy ? headline(activity) : message
    setText(this.#headline, title)
    setText(this.#details, busy ? details(activity) : more)
    // Screen readers announce each stage, but not each step or byte; these are in the value of the progress bar.
    setText(this.#spoken, title.replace(/ · step .*/, ''))
    this.element.classList.toggle('idle', activity.phase === 'idle')
    this.#drawStages(activity)
    this.#drawFiles(activity)
    this.#drawMemory(activity)
  }

  #drawMemory(activity: Activity): void {
    const { memory, device } = activity
    this.#memory.classList.toggle('none', memory === undefined)
    setText(this.#memoryPlace, memoryPlace(activity))
    setText(this.#memoryNumbers, memoryNumbers(activity))
    const budget = device?.budget
    this.#gauge.classList.toggle('none', budget === undefined)
    if (memory === undefined || budget === undefined) return
    const whole = Math.max(budget, memory.peak)
    this.#live.style.setProperty('scale', `${memory.live / whole} 1`)
    this.#peak.style.setProperty('scale', `${memory.peak / whole} 1`)
  }

  #drawStages(activity: Activity): void {
    const { phase, reached } = activity
    const busy = phase !== 'idle'
    this.#stages.forEach(({ item, fill }, index) => {
      const here = busy && index === reached.stage
      item.classList.toggle('here', here)
      item.classList.toggle('waiting', here && reached.fraction === undefined)
      fill.style.setProperty('scale', `${filled(reached, index)} 1`)
    })
    if (!busy || reached.fraction === undefined || reached.stage < 0) this.#bar.removeAttribute('aria-valuenow')
    else this.#bar.setAttribute('aria-valuenow', String(Math.round(reached.fraction * 100)))
    this.#bar.setAttribute(
      'aria-valuetext',
      [headline(activity), details(activity)].filter((text) => text !== '').join(', ') || 'Idle',
    )
  }

  #drawFiles({ files }: Activity): void {
    this.#files.classList.toggle('none', files.size === 0)
    if (files.size < this.#fileRows.size) {
      this.#fileRows.clear()
      this.#fileList.replaceChildren()
    }
    setText(this.#fileSummary, files.size === 1 ? 'One file' : `${files.size} files`)
    for (const [key, file] of files) {
      let drawn = this.#fileRows.get(key)
      if (drawn === undefined) {
        const fill = h('span', { class: 'fill' })
        const state = h('span', { class: 'state' })
        const name = h('span', { class: 'path', title: file.path }, file.path)
        const row = h('li', { title: componentLabel(file.component) }, name, state, h('span', { class: 'track' }, fill))
        drawn = { row, state, fill }
        this.#fileRows.set(key, drawn)
        this.#fileList.append(row)
      }
      setText(drawn.state, fileState(file))
      drawn.fill.style.setProperty('scale', `${file.total === 0 ? 1 : file.loaded / file.total} 1`)
    }
  }
}
