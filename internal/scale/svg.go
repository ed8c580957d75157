package scale

import (
	"fmt"
	"math"
	"strings"
)

// chart is a picture of lines.
type chart struct {
	Title, X, Y string
	LogX, LogY  bool
	Lines       []line
}

type line struct {
	Name   string
	Points [][2]float64
}

// colours are those of Okabe and Ito, which the colour-blind can tell apart.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

const (
	width, height            = 640, 360
	left, right, top, bottom = 70, 190, 36, 48
)

// svg returns the picture.
func (c *chart) svg() string {
	x, y := c.axis(0, c.LogX), c.axis(1, c.LogY)
	atX := func(v float64) float64 { return left + x.part(v)*(width-left-right) }
	atY := func(v float64) float64 { return height - bottom - y.part(v)*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, s)
	}
	rule := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fL%.1f %.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
	}
	text(left, top-14, "start", c.Title)
	for _, v := range x.ticks {
		rule(atX(v), top, atX(v), height-bottom)
		text(atX(v), height-bottom+16, "middle", number(v))
	}
	for _, v := range y.ticks {
		rule(left, atY(v), width-right, atY(v))
		text(left-6, atY(v)+4, "end", number(v))
	}
	text((left+width-right)/2, height-10, "middle", c.X)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, c.Y)
	for i, l := range c.Lines {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for j, p := range l.Points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], atX(p[0]), atY(p[1]))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour)
		for _, p := range l.Points {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", atX(p[0]), atY(p[1]), colour)
		}
		at := float64(top + 10 + 18*i)
		fmt.Fprintf(&b, `<path d="M%d %.0fh16" stroke="%s" stroke-width="2"/>`+"\n", width-right+10, at-4, colour)
		text(width-right+32, at, "start", l.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// axis is where values are on one axis of a chart.
type axis struct {
	log      bool
	from, to float64
	ticks    []float64
}

// axis returns the axis that has room for all points.
func (c *chart) axis(which int, log bool) axis {
	lowest, highest := math.Inf(1), math.Inf(-1)
	for _, l := range c.Lines {
		for _, p := range l.Points {
			lowest, highest = min(lowest, p[which]), max(highest, p[which])
		}
	}
	a := axis{log: log}
	if log {
		a.from, a.to = math.Floor(math.Log10(lowest)), math.Ceil(math.Log10(highest))
		for e := a.from; e <= a.to; e++ {
			a.ticks = append(a.ticks, math.Pow(10, e))
		}
		return a
	}
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, part := range []float64{5, 2} { // four ticks at least
		if highest/step < 4 {
			step = math.Pow(10, math.Floor(math.Log10(highest))) * part / 10
		}
	}
	for v := 0.0; v < highest+step; v += step {
		a.ticks = append(a.ticks, v)
		a.to = v
	}
	return a
}

// part returns where a value is between the ends of the axis, from 0 to 1.
func (a axis) part(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return (v - a.from) / (a.to - a.from)
}

// number returns a number as people read it.
func number(v float64) string {
	s := fmt.Sprintf("%.6g", v)
	if v < 10_000 {
		return s
	}
	s = fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
