package ids

import (
	"errors"
	"path/filepath"
)

// load reads what lies in the directory. errNotWhole says that some of it cannot be used, and so all.
func (x *Index) load() error {
	runs, err := filepath.Glob(filepath.Join(x.cfg.Dir, "*.run"))
	if err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(x.cfg.Dir, "*.log"))
	if err != nil {
		return err
	}
	for i, path := range runs { // Glob sorts them
		err := x.loadRun(path)
		if errors.Is(err, errNotWhole) && i == len(runs)-1 && len(logs) > 0 { // it was being written: the log has it all
			if err = remove(path); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return x.loadLogs(logs)
}

// loadRun reads a run, which follows on what was read before.
func (x *Index) loadRun(path string) error {
	g := x.generation()
	r, after, err := openRun(path, x.owner, g.bloom.add)
	if err != nil {
		return err
	}
	if first := x.base == 0 && x.last == 0; path != x.path(after, "run") || !first && after != x.last || r.last <= after {
		_ = r.file.Close() // only read from
		return errNotWhole
	}
	g.runs = append(g.runs, r)
	x.base, x.last, x.saved, x.newest = r.last, r.last, r.last, max(x.newest, r.newest)
	return nil
}

// loadLogs reads the log of the ids that came after the runs. What is missing at its end is no gap.
func (x *Index) loadLogs(paths []string) error {
	for _, path := range paths {
		var entries []entry
		after, last, end, err := readLog(path, x.owner, func(e entry) { entries = append(entries, e) })
		some := x.last > 0
		switch {
		case errors.Is(err, errNotWhole), err == nil && some && after < x.last && last <= x.last: // begun in vain, or a run has it
			err = remove(path)
			if err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case path != x.path(after, "log") || some && after != x.last:
			return errNotWhole
		}
		for _, e := range entries {
			x.table.put(e)
			x.newest = max(x.newest, e.at())
		}
		x.base, x.last, x.saved, x.logPath = after, last, last, path
		if x.log, err = openLog(path, head{}, end); err != nil {
			return err
		}
	}
	return nil
}
