/** Animates the items of a list to their new places when an item is inserted. */

const options = { duration: 320, easing: 'cubic-bezier(0.2, 0, 0, 1)' } as const

/** Runs `change`, then animates the children from their old places, unless the user prefers reduced motion. */
export function glideAside(list: HTMLElement, change: () => void): void {
  const before = [...list.children].map((child) => ({ child, box: child.getBoundingClientRect() }))
  change()
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return
  for (const { child, box } of before) {
    const now = child.getBoundingClientRect()
    if (now.left === box.left && now.top === box.top) continue
    child.animate([{ translate: `${box.left - now.left}px ${box.top - now.top}px` }, { translate: 'none' }], options)
  }
}
