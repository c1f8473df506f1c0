/** What a command writes: results on stdout (text, or one JSON document), progress and messages on stderr. */

import { formatBytes } from '../src/util/format-bytes.js'

/** The streams of a command, which tests replace. */
export interface CommandIO {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether stderr is a terminal that can redraw a line. */
  readonly isTerminal: boolean
  readonly columns: number
  readonly signal: AbortSignal
}

/** Shows how far a long piece of work is: a bar that redraws itself on a terminal, else a line for each thing that is done. */
export class ProgressBar {
  readonly #io: CommandIO
  readonly #total: number
  readonly #begin = performance.now()
  #done = 0
  #resumed = 0
  #label = ''
  #shown = ''

  constructor(io: CommandIO, total: number) {
    this.#io = io
    this.#total = total
  }

  /** What is being worked on now. */
  label(label: string): void {
    this.#label = label
    this.#draw()
  }

  /** More bytes are done. `resumed` ones do not count for the speed. */
  add(bytes: number, resumed = false): void {
    this.#done += bytes
    if (resumed) this.#resumed += bytes
    this.#draw()
  }

  /** One thing is done: a line of its own. */
  line(text: string): void {
    this.clear()
    this.#io.stderr(`${text}\n`)
    this.#draw()
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#shown === '') return
    this.#io.stderr('\r\u001b[K')
    this.#shown = ''
  }

  #draw(): void {
    if (!this.#io.isTerminal) return
    const part = this.#total === 0 ? 1 : this.#done / this.#total
    const seconds = (performance.now() - this.#begin) / 1000
    const speed = seconds > 1 ? `, ${formatBytes(Math.round((this.#done - this.#resumed) / seconds))}/s` : ''
    const width = 24
    const full = Math.floor(part * width)
    const bar = '█'.repeat(full) + '░'.repeat(width - full)
    const text = `${bar} ${String(Math.floor(part * 100)).padStart(3)} %  ${formatBytes(this.#done)} of ${formatBytes(this.#total)}${speed}  ${this.#label}`
    const cut = text.slice(0, Math.max(1, this.#io.columns - 1))
    if (cut === this.#shown) return
    this.#shown = cut
    this.#io.stderr(`\r\u001b[K${cut}`)
  }
}

/** Rows of cells as columns of text; numbers stand right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => String(row[column] ?? '').length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          typeof cell === 'number' ? String(cell).padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
