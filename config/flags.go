package config

import "github.com/spf13/pflag"

// RegisterFlags adds --config and one flag for each setting.
func RegisterFlags(fs *pflag.FlagSet) {
	fs.String(flagConfig, "", "settings file (default "+DefaultFile+", if it is there)")
	for _, s := range settings {
		f := fs.VarPF(&value{text: s.Default, kind: s.Type}, s.Flag(), "", s.Usage)
		if s.Type == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// value is the text of a flag. It is parsed with all others in Load, so that all faults are named at once; the flag
// itself refuses nothing.
type value struct {
	text, kind string
	changed    bool
}

// Set implements pflag.Value. A list may be given piece by piece; of other settings the last counts.
func (v *value) Set(s string) error {
	if v.kind == "list" && v.changed {
		s = v.text + "," + s
	}
	v.text, v.changed = s, true
	return nil
}

// String implements pflag.Value.
func (v *value) String() string { return v.text }

// Type implements pflag.Value.
func (v *value) Type() string { return v.kind }

// textFlag gives a flag to viper as the text that was written: viper would read a bool by its own rules.
type textFlag struct{ flag *pflag.Flag }

// HasChanged implements viper.FlagValue.
func (f textFlag) HasChanged() bool { return f.flag.Changed }

// Name implements viper.FlagValue.
func (f textFlag) Name() string { return f.flag.Name }

// ValueString implements viper.FlagValue.
func (f textFlag) ValueString() string { return f.flag.Value.String() }

// ValueType implements viper.FlagValue.
func (f textFlag) ValueType() string { return "string" }
