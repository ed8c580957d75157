package monitor

import "github.com/go-grasp/grasp"

// InitBubbleText shows what the ASAs of the default instance print as speech
// bubbles. It is init_bubble_text of the Python prototype, which opens a window;
// here it serves a page on a free port of localhost, and returns its URL. The page
// is there until the default instance is closed. InitBubbleText starts the default
// instance if it is not running, so call [grasp.SkipDialogue] before. Each call
// makes a page of its own.
func InitBubbleText(caption string) (url string, err error) {
	g, err := grasp.Default()
	if err != nil {
		return "", err
	}
	return bubbles(caption, g)
}

// bubbles serves a page about an instance until that is closed.
func bubbles(caption string, g *grasp.Instance) (url string, err error) {
	m := New(Config{Caption: caption})
	m.Watch(caption, g)
	if url, err = m.Listen(""); err != nil {
		_ = m.Close() // the first error is the one to tell
		return "", err
	}
	go func() {
		<-g.Done()
		_ = m.Close() // there is nobody to tell
	}()
	return url, nil
}
