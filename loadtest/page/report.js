/* report.js: the page's plots and tables from the figures in #data. Text goes in as text nodes; every colour comes from the style sheet.
 *
 * Charts are made again when the scheme changes and before printing (on paper they are light), and resized with their boxes. */
"use strict";
(function () {
	const data = JSON.parse(document.getElementById("data").textContent);
	const regimes = data.regimes;
	const $ = (id) => document.getElementById(id);
	const PUSH = "pushed", POLL = "polled";

	/* ---- Text ---- */

	function element(tag, attributes, ...children) {
		const made = document.createElement(tag);
		for (const name in attributes)
			made.setAttribute(name, attributes[name]);
		made.append(...children);
		return made;
	}

	const grouped = (x, digits) => x.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

	/* As the table for people has it: two figures below 10, whole above. */
	function ms(x) {
		if (x == null)
			return "";
		return grouped(x, x < 0.995 ? 2 : x < 9.95 ? 1 : 0);
	}
	const withUnit = (x) => (x == null ? "" : ms(x) + " ms");
	const plural = (n, what) => n + " " + what + (n === 1 ? "" : "s");
	const receivers = (kind, n) => plural(n, kind === PUSH ? "consumer" : "poller");

	/* ---- What is there ---- */

	/* Every side that received something: its regime, kind, and whether the other kind was at work too. */
	const sides = [];
	for (const regime of regimes)
		for (const kind of [POLL, PUSH])
			if (regime[kind] && regime[kind].latency.n)
				sides.push({ regime, kind, side: regime[kind], n: regime[kind].receivers, both: !!(regime[POLL] && regime[PUSH]) });
	const label = (s) => receivers(s.kind, s.n) + (s.both ? ", mixed" : "");

	/* ---- Looks ---- */

	const rootStyle = () => getComputedStyle(document.documentElement);
	const colour = (name) => rootStyle().getPropertyValue("--" + name).trim();
	const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
	const mixed = (a, b, part) => "rgb(" + rgb(a).map((x, i) => Math.round(x + (rgb(b)[i] - x) * part)).join(",") + ")";

	/* The more receivers, the further from the ground; so a kind is told by hue, the number by shade, dashes and its label. */
	function shade(kind, rank, of) {
		return mixed(colour(kind === PUSH ? "push" : "poll"), colour("ink"), of > 1 ? (0.45 * rank) / (of - 1) : 0);
	}
	const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 4]];

	const font = (px, weight) => (weight || 400) + " " + px + 'px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif';

	/* ---- Scales ---- */

	/* From a value of the row 1, 2, 5, 10 at or below to one at or above. */
	function nice(x, up) {
		const power = Math.pow(10, Math.floor(Math.log10(x) + 1e-9));
		const steps = [1, 2, 5, 10].map((s) => s * power);
		return up ? steps.find((s) => s >= x * 0.9999) : steps.reverse().find((s) => s <= x * 1.0001);
	}
	function logSplits(min, max, tall) {
		const decades = Math.log10(max / min), steps = decades > 3.5 || tall < 180 ? [1] : decades > 2.2 ? [1, 3] : [1, 2, 5];
		const splits = [];
		for (let e = Math.floor(Math.log10(min)) - 1; e <= Math.ceil(Math.log10(max)); e++)
			for (const s of steps) {
				const x = Number((s * Math.pow(10, e)).toPrecision(3));
				if (x >= min * 0.999 && x <= max * 1.001)
					splits.push(x);
			}
		return splits;
	}
	/* Room above and below, so that no line lies on the frame. */
	function logScale(values) {
		const positive = values.filter((x) => x > 0);
		if (!positive.length)
			return { range: [0.1, 1], distr: 3 };
		const min = nice(Math.min(...positive), false), max = nice(Math.max(...positive), true);
		return { range: [min / 1.25, max * 1.4], distr: 3 };
	}
	const plain = (x) => (x >= 1 ? grouped(x, 0) : String(x));
	const seconds = (x) => grouped(x, Math.abs(x - Math.round(x)) < 0.05 ? 0 : 1) + " s";
	/* Between labels of a time axis: whole seconds, minutes, hours, since uPlot's own steps begin with parts of a second. */
	const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

	function axis(more) {
		return Object.assign({ stroke: colour("soft"), font: font(12), labelFont: font(12), grid: { stroke: colour("grid"), width: 1 },
			ticks: { stroke: colour("grid"), width: 1, size: 4 }, gap: 4 }, more);
	}
	function msAxis(range) {
		/* Room for the longest label that can stand there; 16: the gap and the tick. */
		const size = Math.max(62, Math.ceil(textWidth([plain(10 ** Math.floor(Math.log10(range[1]))) + " ms"])) + 16);
		return axis({ size, splits: (u) => logSplits(range[0], range[1], u.bbox.height / devicePixelRatio),
			values: (u, splits) => splits.map((x) => plain(x) + " ms"), filter: (u, splits) => splits });
	}

	/* ---- Charts: made, made again, resized ---- */

	const charts = [];

	function chart(box, describe) {
		const made = { box, describe, plot: null, width: 0 };
		charts.push(made);
		draw(made);
		new ResizeObserver(() => {
			if (Math.abs(box.clientWidth - made.width) >= 1)
				draw(made);
		}).observe(box);
	}
	function draw(made) {
		const width = made.box.clientWidth;
		if (!width)
			return;
		if (made.plot)
			made.plot.destroy();
		made.width = width;
		const { options, values, text } = made.describe(width);
		made.plot = new uPlot(Object.assign({ width, cursor: { drag: { x: false, y: false }, y: false }, legend: { markers: { dash: marker } } }, options), values, made.box);
		const over = made.plot.root.querySelector(".u-wrap");
		over.setAttribute("role", "img");
		over.setAttribute("aria-label", text);
	}
	/* A line's look in the legend, as the style sheet names it. */
	function marker(u, i) {
		const dash = u.series[i].dash || [];
		return dash.length ? (dash[0] < 4 ? "dotted" : "dashed") : "solid";
	}
	const drawAll = () => charts.forEach(draw);
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
	addEventListener("beforeprint", () => {
		document.documentElement.classList.add("paper");
		drawAll();
	});
	addEventListener("afterprint", () => {
		document.documentElement.classList.remove("paper");
		drawAll();
	});

	/* Labels at the right ends of lines, pushed apart so that none covers another; a line that ends where its label has room beside it
	 * is labelled there. */
	function endLabels(labels, u) {
		const ratio = devicePixelRatio, height = 15 * ratio, context = u.ctx;
		const low = u.bbox.top + u.bbox.height - height / 2, high = u.bbox.top + height / 2, right = u.bbox.left + u.bbox.width;
		context.save();
		context.textBaseline = "middle";
		context.textAlign = "left";
		context.lineWidth = ratio;
		context.setLineDash([]);
		const placed = labels.map((l) => ({ ...l, at: u.valToPos(l.y, "y", true), x: u.valToPos(l.x, "x", true) }));
		for (const l of placed) {
			context.font = font(12 * ratio, l.weight || 600);
			l.from = l.x + 10 * ratio + context.measureText(l.text).width < right ? l.x + 10 * ratio : right + 8 * ratio;
		}
		placed.sort((a, b) => a.at - b.at);
		placed.forEach((l, i) => { l.to = Math.max(l.at, i ? placed[i - 1].to + height : high); });
		for (let i = placed.length - 1, limit = low; i >= 0; limit = placed[i].to - height, i--)
			placed[i].to = Math.min(placed[i].to, limit);
		for (const l of placed) {
			context.strokeStyle = context.fillStyle = l.colour;
			context.globalAlpha = 0.55;
			context.beginPath();
			context.moveTo(l.x + 3 * ratio, l.at);
			context.lineTo(l.from - 3 * ratio, l.to);
			context.stroke();
			context.globalAlpha = 1;
			context.font = font(12 * ratio, l.weight || 600);
			context.fillText(l.text, l.from, l.to);
		}
		context.restore();
	}
	function textWidth(texts) {
		const context = (textWidth.canvas = textWidth.canvas || document.createElement("canvas")).getContext("2d");
		context.font = font(12, 600);
		return Math.max(...texts.map((t) => context.measureText(t).width));
	}

	/* Marks drawn by hand: [x, y] in the plot's values. */
	function mark(u, x, y, shape, size, style, filled) {
		const ratio = devicePixelRatio, r = size * ratio, context = u.ctx;
		const px = u.valToPos(x, "x", true), py = u.valToPos(y, "y", true);
		context.save();
		context.strokeStyle = context.fillStyle = style;
		context.lineWidth = 1.8 * ratio;
		context.beginPath();
		if (shape === "diamond") {
			context.moveTo(px, py - r);
			context.lineTo(px + r, py);
			context.lineTo(px, py + r);
			context.lineTo(px - r, py);
			context.closePath();
		} else if (shape === "square") {
			context.rect(px - r * 0.8, py - r * 0.8, r * 1.6, r * 1.6);
		} else {
			context.arc(px, py, r, 0, 2 * Math.PI);
		}
		if (filled)
			context.fill();
		else
			context.stroke();
		context.restore();
	}

	/* ---- Latency against number of consumers ---- */

	function consumersPlot() {
		const alone = (kind) => {
			const found = sides.filter((s) => s.kind === kind && !s.both);
			return (found.length ? found : sides.filter((s) => s.kind === kind)).sort((a, b) => a.n - b.n);
		};
		const push = alone(PUSH), poll = alone(POLL);
		const both = sides.filter((s) => s.both && !push.includes(s) && !poll.includes(s));
		const xs = [...new Set([...push, ...poll, ...both].map((s) => s.n))].sort((a, b) => a - b);
		if (xs.length < 2)
			return;
		$("s-consumers").hidden = false;
		/* A claim is made only if the data make it. */
		const said = [], grew = (list) => list[list.length - 1].side.latency.mean_ms > 1.25 * list[0].side.latency.mean_ms + 0.2;
		if (poll.length > 1 && grew(poll))
			said.push("The more poll, the longer each of them waits.");
		if (push.length > 1)
			said.push(grew(push) ? "Pushed latency grew with the consumers." : "Pushed, it is the same for one and for many.");
		$("say-consumers").textContent = said.join(" ");
		const column = (list, figure) => xs.map((x) => { const s = list.find((t) => t.n === x); return s ? s.side.latency[figure] : null; });
		const lines = [
			["Polled p99", poll, "p99_ms", "poll", [6, 4]], ["Polled mean", poll, "mean_ms", "poll", []],
			["Pushed p99", push, "p99_ms", "push", [6, 4]], ["Pushed mean", push, "mean_ms", "push", []],
		].filter((l) => l[1].length);
		const books = [...push, ...poll].filter((s) => s.side.textbook_ms > 0);
		const everything = [...lines.flatMap((l) => column(l[1], l[2])), ...books.map((s) => s.side.textbook_ms), ...both.map((s) => s.side.latency.mean_ms)];
		const y = logScale(everything.filter((v) => v != null));
		const pad = Math.max(0.5, (xs[xs.length - 1] - xs[0]) * 0.06), left = xs[0] - pad, right = xs[xs.length - 1] + pad;
		chart($("p-consumers"), (width) => {
			/* On a phone the colour has to say whose line it is. */
			const end = (l) => (width < 560 ? l[0].replace(/^\S+ /, "") : l[0]) + " " + withUnit(l[1][l[1].length - 1].side.latency[l[2]]);
			/* The textbook is told once a kind, at the last of its diamonds. */
			const last = [PUSH, POLL].map((kind) => books.filter((s) => s.kind === kind).pop()).filter(Boolean);
			const book = (s) => "textbook " + withUnit(s.side.textbook_ms);
			const margin = Math.ceil(textWidth([...lines.map(end), ...last.map(book)])) + 14, pixels = (width - margin - 62) / (right - left);
			const told = xs.filter((x, i) => !i || i === xs.length - 1 || ((x - xs[i - 1]) * pixels > 18 && (xs[xs.length - 1] - x) * pixels > 18));
			return {
				text: "Latency in ms against number of consumers. " + [...poll, ...push].map((s) => label(s) + ": mean " + ms(s.side.latency.mean_ms) +
					", p99 " + ms(s.side.latency.p99_ms)).join("; ") + ". " + books.map((s) => "Textbook for " + label(s) + ": " + ms(s.side.textbook_ms)).join("; ") + ".",
				values: [xs, ...lines.map((l) => column(l[1], l[2]))],
				options: {
					height: width < 560 ? 340 : 420,
					padding: [14, margin, 0, 0],
					scales: { x: { time: false, range: [left, right] }, y },
					axes: [axis({ splits: () => xs, values: (u, s) => s.map((x) => (told.includes(x) ? String(x) : "")), label: "consumers", labelSize: 22, size: 30 }), msAxis(y.range)],
					series: [{ label: "consumers", value: (u, v) => (v == null ? "" : String(v)) }, ...lines.map((l) => ({ label: l[0], stroke: colour(l[3]), width: 2.5,
						dash: l[4], spanGaps: true, points: { show: true, size: 9, fill: colour(l[3]), stroke: colour(l[3]) }, value: (u, v) => withUnit(v) }))],
					hooks: {
						draw: [(u) => {
							for (const s of books)
								mark(u, s.n, s.side.textbook_ms, "diamond", 7, colour(s.kind === PUSH ? "push" : "poll"), false);
							for (const s of both)
								mark(u, s.n, s.side.latency.mean_ms, "square", 6, colour(s.kind === PUSH ? "push" : "poll"), false);
							endLabels([
								...lines.map((l) => { const s = l[1][l[1].length - 1]; return { x: s.n, y: s.side.latency[l[2]], text: end(l), colour: colour(l[3]) }; }),
								...last.map((s) => ({ x: s.n, y: s.side.textbook_ms, text: book(s), weight: 400, colour: colour(s.kind === PUSH ? "push" : "poll") })),
							], u);
						}],
					},
				},
			};
		});
	}

	/* ---- Distribution ---- */

	function distributionPlot() {
		if (!sides.length)
			return;
		$("s-distribution").hidden = false;
		/* The maximum is what one record in n took: 100 % has no place on the axis. */
		const inverse = (percentile, n) => (percentile >= 100 ? Math.max(n, 1.0001) : 1 / (1 - percentile / 100));
		const tables = sides.map((s) => {
			const n = s.side.latency.n, points = s.side.latency.distribution.map(([p, v]) => [inverse(p, n), Math.max(v, 1e-4)]);
			const kept = points.filter(([x], i) => i === points.length - 1 || x < Math.max(n, 1.0001));
			return [kept.map((p) => p[0]), kept.map((p) => p[1])];
		});
		const values = uPlot.join(tables);
		const far = Math.max(10, ...tables.map((t) => t[0][t[0].length - 1]));
		const y = logScale(tables.flatMap((t) => t[1]));
		const ranks = (kind) => [...new Set(sides.filter((s) => s.kind === kind).map((s) => s.n))].sort((a, b) => a - b);
		chart($("p-distribution"), (width) => {
			const wide = width >= 620, place = {};
			const styles = sides.map((s) => {
				const all = ranks(s.kind), rank = all.indexOf(s.n);
				return { stroke: shade(s.kind, rank, all.length), dash: s.both ? [2, 3] : DASHES[rank % 2 ? 1 : 0], width: s.both ? 3 : 2 };
			});
			const named = (x) => { const p = 100 - 100 / x; return (x < 1.5 ? "0" : Number(p.toPrecision(Math.max(2, Math.round(Math.log10(x)) + 1))) + "") + " %"; };
			const splits = [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].filter((x) => x <= far && (x !== 2 || (width - 62) / Math.log10(far) > 140));
			return {
				text: "Latency in ms at percentiles. " + sides.map((s) => label(s) + ": p50 " + ms(s.side.latency.p50_ms) + ", p99 " + ms(s.side.latency.p99_ms) +
					", maximum " + ms(s.side.latency.max_ms)).join("; ") + ".",
				values,
				options: {
					height: width < 560 ? 340 : 440,
					padding: [14, wide ? Math.ceil(textWidth(sides.map(label))) + 16 : 14, 0, 0],
					scales: { x: { time: false, distr: 3, range: [1, far] }, y },
					axes: [axis({ size: 30, splits: () => splits, values: (u, s) => s.map(named), filter: (u, s) => s }), msAxis(y.range)],
					series: [{ label: "percentile", value: (u, v) => (v == null ? "" : Number((100 - 100 / v).toFixed(4)) + " %") },
						...sides.map((s, i) => ({ label: label(s), ...styles[i], spanGaps: true, points: { show: tables[i][0].length < 3 }, value: (u, v) => withUnit(v) }))],
					hooks: { draw: !wide ? [kindLabels] : [(u) => endLabels(sides.map((s, i) => {
						const t = tables[i];
						return { x: t[0][t[0].length - 1], y: t[1][t[1].length - 1], text: label(s), colour: styles[i].stroke };
					}), u)] },
				},
			};
		});
	}

	/* ---- Timeline ---- */

	/* Where the lines cannot be labelled one by one: what those of a kind are. */
	function kindLabels(u) {
		const context = u.ctx, ratio = devicePixelRatio;
		context.save();
		context.font = font(12 * ratio, 600);
		context.textAlign = "right";
		context.textBaseline = "middle";
		for (const kind of [POLL, PUSH]) {
			/* Above the highest line at the label's end, or below the lowest one where it begins. */
			const list = sides.filter((s) => s.kind === kind), ends = list.map((s) => u.valToPos(s.side.latency[kind === POLL ? "p999_ms" : "p90_ms"], "y", true));
			context.fillStyle = colour(kind === PUSH ? "push" : "poll");
			if (list.length)
				context.fillText(kind, u.bbox.left + u.bbox.width * 0.55, kind === POLL ? Math.max(u.bbox.top + 8 * ratio, Math.min(...ends) - 14 * ratio) : Math.max(...ends) + 18 * ratio);
		}
		context.restore();
	}

	function timelinePlots() {
		const timed = regimes.filter((r) => r.timeline.at_s.length > 1 && (r[PUSH] || r[POLL]));
		if (!timed.length)
			return;
		$("s-timeline").hidden = false;
		const step = Math.max(...timed.map((r) => r.timeline.step || 1));
		$("say-timeline").textContent = "p50 (line) and p99 (dashes) of each second, one scale for all." +
			(step > 1 ? " The run was long: a point is up to " + step + " seconds, its p50 their mean and its p99 the worst of them." : "") +
			(timed.some((r) => r.timeline.throttled.some((n) => n > 0)) ? " Marks at the foot: seconds with throttled calls." : "");
		const names = ["push_p50_ms", "push_p99_ms", "poll_p50_ms", "poll_p99_ms"];
		const titles = { push_p50_ms: "pushed p50", push_p99_ms: "pushed p99", poll_p50_ms: "polled p50", poll_p99_ms: "polled p99" };
		const y = logScale(timed.flatMap((r) => names.flatMap((n) => r.timeline[n])));
		for (const regime of timed) {
			const box = element("div", { class: "plot" });
			$("p-timeline").append(element("figure", {}, element("h3", {}, regime.name), box));
			const t = regime.timeline, there = names.filter((n) => t[n].some((v) => v > 0));
			chart(box, () => ({
				text: "Timeline of " + regime.name + ": " + there.map((n) => {
					const seen = t[n].filter((v) => v > 0).sort((a, b) => a - b);
					return titles[n] + " from " + ms(seen[0]) + " to " + ms(seen[seen.length - 1]) + " ms";
				}).join("; ") + ".",
				values: [t.at_s, ...there.map((n) => t[n].map((v) => (v > 0 ? v : null)))],
				options: {
					height: 210,
					padding: [10, 18, 0, 0],
					scales: { x: { time: false, range: (u, min, max) => [Math.floor(min), max] }, y },
					axes: [axis({ size: 28, space: 46, incrs: SECONDS, values: (u, s) => s.map(seconds) }), msAxis(y.range)],
					series: [{ label: "at", value: (u, v) => (v == null ? "" : seconds(v)) }, ...there.map((n) => ({ label: titles[n],
						stroke: colour(n.slice(0, 4)), width: 2, dash: n.includes("p99") ? [5, 3] : [], points: { show: false }, value: (u, v) => withUnit(v) }))],
					hooks: { draw: [(u) => {
						const ratio = devicePixelRatio, foot = u.bbox.top + u.bbox.height;
						u.ctx.save();
						u.ctx.fillStyle = colour("ink");
						t.throttled.forEach((n, i) => {
							if (n > 0)
								u.ctx.fillRect(u.valToPos(t.at_s[i], "x", true) - ratio, foot - 7 * ratio, 2 * ratio, 7 * ratio);
						});
						u.ctx.restore();
					}] },
				},
			}));
		}
	}

	/* ---- Each consumer's throughput ---- */

	function throughputPlot() {
		const rows = sides.filter((s) => s.side.each.length);
		if (!rows.length)
			return;
		$("s-throughput").hidden = false;
		const ROW = 46;
		const rates = rows.flatMap((s) => [...s.side.each.flatMap((e) => [e.mean_mib_s, e.peak_mib_s]), s.side.limit_mib_s]);
		const { range } = logScale(rates), x = { time: false, distr: 3, range: [range[0] / 1.15, range[1] * 1.15] };
		const mean = (s) => s.side.each.reduce((sum, e) => sum + e.mean_mib_s, 0) / s.side.each.length;
		chart($("p-throughput"), (width) => ({
			text: "Throughput of each consumer in MiB/s, and what it may read. " + rows.map((s) => label(s) + ": mean " + mean(s).toFixed(3) + " of " +
				s.side.limit_mib_s.toFixed(2)).join("; ") + ".",
			values: [[range[0], range[1]], [0, 0]],
			options: {
				height: rows.length * ROW + 44,
				padding: [6, 14, 0, 14],
				legend: { show: false },
				cursor: { show: false },
				scales: { x, y: { range: [-0.5, rows.length - 0.5] } },
				axes: [axis({ size: 30, splits: () => logSplits(x.range[0], x.range[1], width < 560 ? 100 : 1000), filter: (u, s) => s,
					values: (u, s) => s.map((v, i) => plain(v) + (i === s.length - 1 ? " MiB/s" : "")) }), { show: false }],
				series: [{}, { show: false }],
				hooks: { draw: [(u) => rows.forEach((s, i) => throughputRow(u, s, rows.length - 1 - i, mean(s), range[0]))] },
			},
		}));
		eachTable(rows);
	}
	function throughputRow(u, s, row, mean, least) {
		const context = u.ctx, ratio = devicePixelRatio, hue = colour(s.kind === PUSH ? "push" : "poll");
		const middle = u.valToPos(row - 0.14, "y", true), limit = u.valToPos(s.side.limit_mib_s, "x", true);
		context.save();
		context.fillStyle = hue;
		context.globalAlpha = 0.13;
		context.fillRect(u.bbox.left, middle - 9 * ratio, limit - u.bbox.left, 18 * ratio);
		context.globalAlpha = 1;
		context.fillRect(limit - 1.5 * ratio, middle - 12 * ratio, 3 * ratio, 24 * ratio);
		context.fillStyle = colour("ink");
		context.font = font(12 * ratio, 600);
		context.textBaseline = "alphabetic";
		context.textAlign = "left";
		const share = s.side.limit_mib_s > 0 ? (mean / s.side.limit_mib_s) * 100 : 0;
		const over = middle - 14 * ratio, most = u.bbox.width;
		const long = label(s) + ": " + mean.toPrecision(2) + " of " + Number(s.side.limit_mib_s.toPrecision(3)) + " MiB/s, " + share.toPrecision(2) + " %";
		context.fillText(context.measureText(long).width <= most ? long : label(s) + ": " + share.toPrecision(2) + " %", u.bbox.left, over, most);
		context.restore();
		/* Dots of one row spread over its height by rank, so that twenty alike are seen to be twenty. */
		s.side.each.forEach((e, i) => {
			const y = row - 0.14 + (s.side.each.length > 1 ? (i / (s.side.each.length - 1) - 0.5) * 0.3 : 0);
			if (e.peak_mib_s > 0)
				mark(u, Math.max(e.peak_mib_s, least), y, "circle", 2.6, hue, false);
			mark(u, Math.max(e.mean_mib_s, least), y, "circle", 2.8, hue, true);
		});
	}
	function eachTable(rows) {
		const lines = rows.flatMap((s) => s.side.each.map((e, i) => [i ? "" : label(s), e.name, grouped(e.records, 0), (e.bytes / 1048576).toFixed(2), e.mean_mib_s.toFixed(3),
			e.peak_mib_s.toFixed(3), s.side.limit_mib_s.toFixed(2)]));
		const left = rows.reduce((n, s) => n + (s.side.left_out || 0), 0);
		const heads = ["regime", "consumer", "records", "MiB", "MiB/s", "best second", "limit"];
		$("each").append(element("details", {}, element("summary", {}, "Every consumer's figures" + (left ? " (the slowest; " + left + " more are in the JSON report)" : "")),
			table("Every consumer", heads, lines, 2)));
	}

	/* ---- Tables ---- */

	/* `names`: so many columns at the left are text; the first heads its row, and the rows after it that leave it empty. */
	function table(caption, heads, lines, names) {
		const head = element("tr", {}, ...heads.map((h, i) => element("th", i < names ? { scope: "col", class: "name" } : { scope: "col" }, h)));
		let first = null;
		const body = lines.map((line) => {
			const row = element("tr", {}, ...line.slice(1).map((cell, i) => element("td", i + 1 < names ? { class: "name" } : {}, cell)));
			if (line[0])
				row.prepend((first = element("th", { scope: "rowgroup", rowspan: "1" }, line[0])));
			else
				first.rowSpan++;
			return row;
		});
		return element("div", {}, element("h3", {}, caption), element("div", { class: "tablebox", tabindex: "0", role: "region", "aria-label": caption },
			element("table", { class: "figures", "aria-label": caption }, element("thead", {}, head), element("tbody", {}, ...body))));
	}
	function each(columns) {
		return regimes.flatMap((regime) => {
			const lines = ["put", PUSH, POLL].filter((kind) => regime[kind]).map((kind) => columns(regime, kind, regime[kind])).filter((line) => line);
			return lines.map((line, i) => [i ? "" : regime.name, ...line]);
		});
	}
	function tables() {
		const three = (x) => grouped(x, 3);
		const figures = (l) => [grouped(l.n, 0), ...["mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"].map((f) => three(l[f]))];
		const box = $("tables");
		box.append(table("Latency, ms", ["regime", "side", "n", "mean", "p50", "p90", "p99", "p99.9", "max"],
			each((regime, kind, side) => side.latency.n && [kind, ...figures(side.latency)]), 2));
		box.append(table("Throughput, and what was met", ["regime", "side", "of", "records/s", "MiB/s each", "limit", "used", "throttled", "retried", "resubscribed"],
			each((regime, kind, side) => {
				const n = side.receivers || 1, one = side.mib_per_s / n, limit = kind === "put" ? regime.shards : side.limit_mib_s;
				return [kind, kind === "put" ? "" : String(n), grouped(side.records_per_s, 1), three(one), grouped(limit, 2),
					limit ? ((one / limit) * 100).toFixed(1) + " %" : "", grouped(side.throttled, 0), grouped(side.retried, 0), kind === PUSH ? grouped(side.resubscribed, 0) : ""];
			}), 2));
		box.append(table("Beside the textbook, ms", ["regime", "side", "textbook", "interval between polls", "mean", "p99"],
			each((regime, kind, side) => kind !== "put" && side.latency.n && [kind, side.textbook_ms ? grouped(side.textbook_ms, 0) : "",
				side.interval_ms ? grouped(side.interval_ms, 1) : "", three(side.latency.mean_ms), three(side.latency.p99_ms)]), 2));
		if (regimes.some((r) => r.hops.length)) {
			const hops = [...new Set(regimes.flatMap((r) => r.hops.map((h) => h.name)))];
			box.append(table("The server's own account of a record's way, p50 / p99, ms", ["regime", ...hops], regimes.filter((r) => r.hops.length).map((r) =>
				[r.name, ...hops.map((name) => { const hop = r.hops.find((h) => h.name === name); return hop ? three(hop.p50_ms) + " / " + three(hop.p99_ms) : ""; })]), 1));
		}
		const p = data.prices;
		const run = regimes.filter((r) => r.shards); /* the others were left out, for want of push */
		if (!run.length)
			return;
		box.append(table("What an hour of this load costs at AWS", ["regime", "shard hours", "PUT payload units", "consumer-shard hours", "GB pushed", "$ an hour", "$ a month"],
			run.map((r) => [r.name, grouped(r.cost.shard_hours, 0), grouped(r.cost.put_payload_units, 0), grouped(r.cost.consumer_shard_hours, 0),
				three(r.cost.gb_retrieved), grouped(r.cost.dollars_per_hour, 4), grouped(r.cost.dollars_per_month, 2)]), 1));
		box.append(element("p", { class: "note" }, "At $" + p.shard_hour + " a shard hour, $" + p.million_put_units + " a million PUT payload units, $" + p.consumer_shard_hour +
			" a consumer-shard hour and $" + p.consumer_gb + " a GB retrieved by enhanced fan-out. GetRecords costs nothing. The month is extrapolated from what was measured."));
	}

	/* ---- Top and facts ---- */

	function card(s) {
		const l = s.side.latency;
		$("cards").append(element("div", { class: "card " + (s.kind === PUSH ? "push" : "poll") },
			element("b", {}, ms(l.p50_ms), element("small", {}, " ms")),
			element("span", {}, (s.kind === PUSH ? "pushed to " : "polled by ") + receivers(s.kind, s.n)),
			element("i", {}, "the median; p99 " + withUnit(l.p99_ms))));
	}
	function top() {
		const most = (kind) => {
			const list = sides.filter((s) => s.kind === kind), alone = list.filter((s) => !s.both);
			return (alone.length ? alone : list).reduce((a, b) => (!a || b.n > a.n ? b : a), null);
		};
		const push = most(PUSH), poll = most(POLL);
		const server = data.server || data.endpoint;
		$("kicker").textContent = "penstock-load " + data.command + " · " + server + " · " + data.began.slice(0, 10).replaceAll("-", "\u2011");
		if (push && poll)
			$("title").textContent = "Kinesis: polled against pushed";
		else if (push || poll)
			$("title").textContent = push ? "Kinesis: pushed" : "Kinesis: polled";
		for (const s of [poll, push])
			if (s)
				card(s);
		for (const sentence of data.headline)
			$("headline").append(element("p", sentence.startsWith("Every record") ? { class: "right" } : {}, sentence));
		for (const sentence of data.warnings)
			$("warnings").append(element("p", { class: "warning", role: "note" }, sentence));
	}
	function facts() {
		const first = regimes[0], cpu = regimes.reduce((a, r) => Math.max(a, r.client_cpu), 0);
		const fact = (name, ...value) => $("facts").append(element("dt", {}, name), element("dd", {}, ...value));
		fact("Command", element("code", {}, "penstock-load " + data.arguments));
		fact("Endpoint", data.endpoint + (data.server ? " (" + data.server + ")" : ""));
		fact("Began", data.began.replace("T", " ").replace("Z", " UTC"));
		if (first)
			fact("Load", plural(first.shards, "shard") + ", " + (first.rate ? grouped(first.rate, 0) + " puts a second" : "puts as fast as answers come") +
				(first.batch > 1 ? " of " + first.batch + " records" : "") + ", records of " + grouped(data.record_size, 0) + " bytes, " +
				regimes.map((r) => seconds(r.seconds)).filter((x, i, all) => all.indexOf(x) === i).join(" or ") + " a regime");
		if (first)
			fact("The client's own CPU", "at most " + grouped(cpu * 100, 0) + " % of a core" + (regimes.some((r) => r.saturated) ? "; it was late, see above" : ""));
	}

	top();
	consumersPlot();
	distributionPlot();
	timelinePlots();
	throughputPlot();
	if (regimes.length)
		tables();
	facts();
})();
