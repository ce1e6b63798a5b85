// The texts that stand out too little from what is behind them, by WCAG 2.2 AA: less than 4.5 to 1.
(() => {
	const parse = (text) => {
		const n = text.match(/[\d.]+/g).map(Number)
		const scale = text.startsWith("color(srgb") ? 255 : 1
		return [n[0] * scale, n[1] * scale, n[2] * scale, n[3] ?? 1]
	}
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
	const ground = (element) => {
		if (element === null) return [255, 255, 255, 1]
		const own = parse(getComputedStyle(element).backgroundColor)
		return own[3] === 1 ? own : over(own, ground(element.parentElement))
	}
	const luminance = (color) => {
		const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const faint = []
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	while (texts.nextNode()) {
		const element = texts.currentNode.parentElement
		if (texts.currentNode.data.trim() === "") continue
		const below = ground(element)
		const [high, low] = [luminance(over(parse(getComputedStyle(element).color), below)), luminance(below)].sort((a, b) => b - a)
		const ratio = (high + 0.05) / (low + 0.05)
		if (ratio < 4.5) faint.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`)
	}
	return faint
})()
