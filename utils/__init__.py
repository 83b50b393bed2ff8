"""What the scripts share, in folders by purpose."""
