package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
)

type outcome = map[string]any

// mismatches describes each key whose value is not as expected.
func mismatches(expected, actual outcome) []string {
	wanted := outcome{"code": "OK"}
	for key, value := range expected {
		wanted[key] = value
	}
	actual = plain(actual).(outcome)
	var wrong []string
	for key, value := range wanted {
		if !matches(value, actual[key]) {
			wrong = append(wrong, fmt.Sprintf("%s: expected %v, got %v", key, value, actual[key]))
		}
	}
	sort.Strings(wrong)
	return wrong
}

func matches(expected, value any) bool {
	rule, ok := expected.(outcome)
	if !ok {
		return reflect.DeepEqual(expected, value)
	}
	if present, ok := rule["present"]; ok {
		return isPresent(value) == present
	}
	number, isNumber := value.(float64)
	if least, ok := rule["min"]; ok {
		return isNumber && number >= least.(float64)
	}
	if most, ok := rule["max"]; ok {
		return isNumber && number <= most.(float64)
	}
	if items, ok := rule["contains"]; ok {
		values, _ := value.([]any)
		return isSubsequence(items.([]any), values)
	}
	inner, ok := value.(outcome)
	if !ok || len(rule) == 0 {
		return ok && len(inner) == 0
	}
	for key, wanted := range rule {
		if !matches(wanted, inner[key]) {
			return false
		}
	}
	return true
}

func isPresent(value any) bool {
	switch value := value.(type) {
	case nil:
		return false
	case []any:
		return len(value) > 0
	case outcome:
		return len(value) > 0
	default:
		return !reflect.ValueOf(value).IsZero()
	}
}

func isSubsequence(items, values []any) bool {
	for _, value := range values {
		if len(items) > 0 && reflect.DeepEqual(items[0], value) {
			items = items[1:]
		}
	}
	return len(items) == 0
}

// plain turns a value into what JSON makes of it: numbers are float64.
func plain(value any) (copied any) {
	encoded, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(encoded, &copied)
	}
	if err != nil {
		panic(err)
	}
	return copied
}
