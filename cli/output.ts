/** The output of a command: results on stdout (text, or one JSON document), progress and messages on stderr. */

import { formatBytes } from '../src/util/format-bytes.js'

/** The streams that a command writes to; tests replace them. */
export interface CommandIO {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether stderr is a terminal that can redraw a line. */
  readonly isTerminal: boolean
  readonly columns: number
  readonly signal: AbortSignal
}

/** Shows the progress of long work: a bar on a terminal, otherwise a line for each finished step. */
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

  /** Names the current step. */
  label(label: string): void {
    this.#label = label
    this.#draw()
  }

  /** Adds finished bytes. Bytes of an earlier run (`resumed`) do not count for the speed. */
  add(bytes: number, resumed = false): void {
    this.#done += bytes
    if (resumed) this.#resumed += bytes
    this.#draw()
  }

  /** Prints a line for a finished step. */
  line(text: string): void {
    this.clear()
    this.#io.stderr(`${text}\n`)
    this.#draw()
  }

  /** Removes the bar. */
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

/** Formats rows of cells as columns of text, with numbers aligned to the right. */
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
