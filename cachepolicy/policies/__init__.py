"""The language: YAML text → nodes with positions → a frozen, validated PolicySet. Imports PyYAML only."""
